"""Files for people: a Modelfile for each GGUF file, and the folder's card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data.styling.prompt import StylePrompt
from sftplay.files import write_text
from sftplay.fingerprint import fingerprint
from sftplay.model.exporting.checks import end_option, start_token
from sftplay.model.gguf.go_template import find_frame
from sftplay.model.gguf.modelfile import OllamaModel
from sftplay.model.gguf.runtime import Runtime
from sftplay.model.weights.card import card, evaluations_of
from sftplay.model.weights.trained_run import RunFacts
from sftplay.settings import InferSettings
from sftplay.stages import Job

_USE = """## Use

```
llama-server -m {file} --jinja
ollama create {run} -f {stem}.Modelfile
```

`proof.json` says for each file how far its answers are from those of the original."""
_USE_ADAPTER = """## Use

```
llama-server -m {base} --lora {file} --jinja --chat-template-file chat_template.jinja{end}
ollama create {run} -f {stem}.Modelfile
```

{base} is the base model's own GGUF file. `proof.json` says how far answers are from those of the original."""


def modelfile_of(
    job: Job, facts: RunFacts, runtime: Runtime, file: Path, base: str = ""
) -> list[str]:
    """Write the Modelfile next to a GGUF file. Returns what it can't do."""
    frame = find_frame(lambda messages: facts.template.render(messages, True))
    if frame is not None:
        frame = frame.without_start(start_token(facts, runtime))
    tokens: Any = facts.tokenizer.convert_ids_to_tokens(facts.eot_ids)
    model = OllamaModel(
        run=facts.run.name,
        file=file.name,
        frame=frame,
        system=_system(job.settings.infer, facts),
        stop=list(dict.fromkeys([facts.eot, *tokens, *job.settings.infer.stop])),
        parameters=_parameters(job.settings.infer),
        base=base,
    )
    write_text(file.with_suffix(".Modelfile"), model.text())
    for note in model.notes:
        console.warning(f"Modelfile: {note}")
    return model.notes


def gguf_card(job: Job, facts: RunFacts, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the README.md of outputs/<run>/gguf/."""
    rows = {name: _row(proof) for name, proof in sorted(files.items())}
    name = min(files, key=lambda each: (files[each]["kind"] == "adapter", each))
    adapter, ends = files[name]["kind"] == "adapter", files[name].get("unknown_ends", {})
    use = (_USE_ADAPTER if adapter else _USE).format(
        file=name,
        run=facts.run.name,
        stem=name.removesuffix(".gguf"),
        base=files[name].get("base_file"),
        end=f" {end_option(ends[facts.eot])}" if facts.eot in ends else "",
    )
    return card(
        facts.record,
        facts.stamp,
        job.settings,
        adapter=adapter,
        evaluations=evaluations_of(facts.run.folder / "eval", fingerprint(facts.tuned)),
        more=rows,
        gguf=use,
    )


def _row(proof: Mapping[str, Any]) -> str:
    by = "transformers" if proof.get("transformers") else "llama_cpp"
    found, reader = proof[by], by.replace("_", ".")
    return (
        f"{proof['quant']}; as {reader} reads it: likeliest token the same at "
        f"{found['top1_agreement']:.1%} of {found['positions']} positions, mean KL {found['mean_kl']:.2g}"
    )


def _system(settings: InferSettings, facts: RunFacts) -> str | None:
    """Return the system prompt that `infer` would use."""
    recorded = facts.record.get("style")
    if settings.system or not recorded:
        return settings.system
    return StylePrompt(recorded["prompt"], recorded["mode"]).system("")


def _parameters(settings: InferSettings) -> list[tuple[str, float]]:
    """Return Ollama's parameters for the config's sampling; its own defaults would add chance."""
    found: list[tuple[str, float]] = [("temperature", settings.temperature)]
    if settings.temperature:
        found += [("top_p", settings.top_p), ("top_k", settings.top_k), ("min_p", settings.min_p)]
    return [*found, ("repeat_penalty", settings.repetition_penalty)]
