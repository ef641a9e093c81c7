"""Model cards: the README.md of an adapter or a model, with the hub's metadata and what a stranger
has to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from sftplay.places import PublishedBase

_ADAPTER = """model = AutoPeftModelForCausalLM.from_pretrained("FOLDER", dtype="auto")"""
_MODEL = """model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")"""
_USE = """## Use

```python
{imports}

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
{model}
messages = [{{"role": "user", "content": "…"}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens=256)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```"""


def card(
    record: Mapping[str, Any],
    stamp: Mapping[str, Any],
    base: PublishedBase,
    *,
    adapter: bool,
    more: Mapping[str, str] | None = None,
    sections: Sequence[str] = (),
) -> str:
    """The card.

    Args:
        record: the run's run.json.
        stamp: its backend.json.
        base: the base model as others find it.
        adapter: the folder holds an adapter, else a whole model.
        more: further rows of the table of facts.
        sections: further sections, in Markdown.
    """
    rows = {**_facts(record, stamp, base), **(more or {})}
    parts = [
        f"---\n{_metadata(stamp, base, adapter=adapter).to_yaml()}\n---",
        f"# {record['name']}",
        f"{base.name}, fine-tuned with supervised examples ({_method(stamp)}) by sftplay {stamp['versions']['sftplay']}.",
        "\n".join(["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows.items())]),
        *sections,
        _use(base, adapter=adapter),
        "The license of the base model and of the training data apply to this model.",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(stamp: Mapping[str, Any], base: PublishedBase, *, adapter: bool) -> ModelCardData:
    """The metadata that the hub reads. It takes only its own ids for a base model."""
    kind = [f"base_model:adapter:{base.name}"] if adapter and base.on_hub else []
    return ModelCardData(
        base_model=base.name if base.on_hub else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["sftplay", "sft", stamp["tuning_method"], *kind],
    )


def _use(base: PublishedBase, *, adapter: bool) -> str:
    if not adapter:
        imports = "from transformers import AutoModelForCausalLM, AutoTokenizer"
        return _USE.format(imports=imports, model=_MODEL)
    imports = "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer"
    text = _USE.format(imports=imports, model=_ADAPTER)
    if base.on_hub:
        return text
    return (
        f"{text}\n\nThe base model came from a local folder named `{base.name}`: start this where that"
        " folder is, or write its path into `base_model_name_or_path` of adapter_config.json."
    )


def _method(stamp: Mapping[str, Any]) -> str:
    if stamp["tuning_method"] == "full":
        return "every weight"
    lora = stamp["lora"] or {}
    kinds = [
        name
        for key, name in (("dora", "DoRA"), ("rslora", "rank-stabilized LoRA"))
        if lora.get(key)
    ]
    kind = " and ".join(kinds) or "LoRA"
    base = "4-bit (NF4) base, QLoRA" if stamp["quantization"] else "16/32-bit base"
    return f"{kind}, rank {lora.get('r')}, alpha {lora.get('alpha'):g}, on a {base}"


def _facts(
    record: Mapping[str, Any], stamp: Mapping[str, Any], base: PublishedBase
) -> dict[str, str]:
    data = record["data"]
    facts = {
        "base model": base.name
        + (f" at {base.revision}" if base.revision else "")
        + (f" ({base.note})" if base.note else ""),
        "training rows": f"{data['rows']['train']:,} ({data['trained_tokens']['train']:,} trained tokens)",
        "steps": f"{record.get('steps')}",
        "backend": f"{stamp['backend']}, {stamp['precision']}",
        "end of turn": f"`{record['template']['eot']}`",
        "versions": ", ".join(
            f"{name} {version}" for name, version in sorted(stamp["versions"].items())
        ),
    }
    if record["template"].get("date"):
        facts["date"] = (
            f"trained with {record['template']['date']} in the template, which prints today's date"
        )
    return facts
