"""Model cards: the README.md of an adapter or a model, with the hub's metadata and what a stranger
has to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sftplay.console import share_text
from sftplay.errors import NotFoundError, SftplayError
from sftplay.model.weights.vllm import vllm_section
from sftplay.places import DEFAULT_MODEL, PublishedBase, find_model, published_base
from sftplay.rawdata import hub_dataset, hub_datasets
from sftplay.settings import Settings
from sftplay.significance import show_number, titles_of
from sftplay.untrusted import read_json

# The base's own settings would end an answer where the base's turns end.
_ADAPTER = """model = AutoPeftModelForCausalLM.from_pretrained("FOLDER", dtype="auto")
model.generation_config = GenerationConfig.from_pretrained("FOLDER")"""
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
_LICENSE_KEYS = ("license", "license_name", "license_link")


def card(
    record: Mapping[str, Any],
    stamp: Mapping[str, Any],
    settings: Settings,
    *,
    adapter: bool,
    evaluations: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, str] | None = None,
    gguf: str = "",
) -> str:
    """The card.

    Args:
        record: the run's run.json.
        stamp: its backend.json.
        settings: the run's config.
        adapter: the folder holds an adapter, else a whole model.
        evaluations: split, or `task-<name>` → metrics.json of evaluations of these very weights.
        more: further rows of the table of facts.
        gguf: the folder holds GGUF files, and this section says how they are used.
    """
    base, found = published_base(settings), evaluations or {}
    rows = {**_facts(record, stamp, base), **(more or {})}
    data = ModelCardData(
        base_model=base.name if base.on_hub else None,
        base_model_relation=("adapter" if adapter else "finetune") if base.on_hub else None,
        library_name="gguf" if gguf else "peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=[*_tags(stamp, base, adapter=adapter), *(["gguf"] if gguf else [])],
        datasets=list(dict.fromkeys(one.name for one in hub_datasets(settings.data))) or None,
        model_name=str(record["name"]) if found else None,
        eval_results=_results(record, found) or None,
        **_license_of(settings),
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {record['name']}",
        f"{base.name}, fine-tuned with supervised examples ({_method(stamp)}) by sftplay {stamp['versions']['sftplay']}.",
        "\n".join(["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows.items())]),
        *(_evaluation(split, found[split]) for split in sorted(found)),
        gguf or _use(base, adapter=adapter),
        *([] if gguf else [vllm_section(record, stamp, base, adapter=adapter)]),
        "The license of the base model and of the training data apply to this model.",
    ]
    return "\n\n".join(parts) + "\n"


def evaluations_of(folder: Path, weights: str) -> dict[str, Any]:
    """Evaluations under `folder` (outputs/<run>/eval) that measured these weights, by split; those
    on tasks of lm-eval by `task-<name>`, without those of some rows only (`--limit`).
    """
    found = {}
    for path in sorted(folder.glob("*/metrics.json")):
        try:
            metrics = read_json(path)
            whole = (metrics.get("settings") or {}).get("limit") is None
            if whole and metrics["model"]["weights"] == weights:
                found[str(metrics.get("split") or path.parent.name)] = metrics
        except (SftplayError, KeyError, TypeError, AttributeError):
            continue  # damaged, or another version's: the card does without it
    return found


def _tags(stamp: Mapping[str, Any], base: PublishedBase, *, adapter: bool) -> list[str]:
    kind = [f"base_model:adapter:{base.name}"] if adapter and base.on_hub else []
    return ["sftplay", "sft", str(stamp["tuning_method"]), *kind]


def _license_of(settings: Settings) -> dict[str, Any]:
    """The base's license as its own card names it; empty where nobody says."""
    if settings.model.name == DEFAULT_MODEL:
        return {"license": "apache-2.0"}
    try:
        text = (find_model(settings) / "README.md").read_text(encoding="utf-8")
        data: Any = ModelCard(text, ignore_metadata_errors=True).data
        named = data.to_dict()
    except (NotFoundError, OSError, ValueError):
        return {}
    return {key: str(named[key]) for key in _LICENSE_KEYS if named.get(key)}


def _results(
    record: Mapping[str, Any], evaluations: Mapping[str, Mapping[str, Any]]
) -> list[EvalResult]:
    """One result for each metric and split, with the number of rows and the 95 % interval."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="lm-eval" if "task" in metrics else "sftplay",
            dataset_name=str(
                metrics.get("task") or f"{record['name']}: rows held out from training"
            ),
            # the library groups by type, config and split: two tasks are told apart by config only
            dataset_config=metrics.get("task"),
            dataset_split=metrics.get("split"),
            dataset_args={"rows": sum(metrics["rows"].values())},
            metric_type=key,
            metric_name=title,
            metric_value=round(metrics["metrics"][key]["tuned"], 6),
            metric_args={
                "base": round(metrics["metrics"][key]["base"], 6),
                "interval_95": [
                    round(end, 6) for end in metrics["metrics"][key].get("tuned_interval") or []
                ],
            },
        )
        for _, metrics in sorted(evaluations.items())
        for key, title in titles_of(metrics["metrics"]).items()
    ]


def _evaluation(split: str, metrics: Mapping[str, Any]) -> str:
    rows = sum(metrics["rows"].values())
    name = f"lm-eval's task {metrics['task']}" if "task" in metrics else split
    lines = [f"## Evaluation ({name}, {rows:,} rows)", "", "| | base | tuned |", "|---|---:|---:|"]
    for key, title in titles_of(metrics["metrics"]).items():
        values = metrics["metrics"][key]
        lines.append(f"| {title} | {_number(values, 'base')} | {_number(values, 'tuned')} |")
    return "\n".join([*lines, "", "In brackets: 95 % intervals, by bootstrap over rows."])


def _number(values: Mapping[str, Any], name: str) -> str:
    ends = values.get(f"{name}_interval")  # older versions measured none
    interval = f" [{', '.join(show_number(end, '.3f') for end in ends)}]" if ends else ""
    return f"{show_number(values[name], '.3f')}{interval}"


def _use(base: PublishedBase, *, adapter: bool) -> str:
    if not adapter:
        imports = "from transformers import AutoModelForCausalLM, AutoTokenizer"
        return _USE.format(imports=imports, model=_MODEL)
    imports = (
        "from peft import AutoPeftModelForCausalLM\n"
        "from transformers import AutoTokenizer, GenerationConfig"
    )
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
    if data.get("mix"):
        facts["training rows by source"] = _by_source(data["mix"])
    if record["template"].get("date"):
        facts["date"] = (
            f"trained with {record['template']['date']} in the template, which prints today's date"
        )
    return facts


def _by_source(mix: Mapping[str, Mapping[str, int]]) -> str:
    """`support.jsonl 300 (60.0%), owner/name 200 (40.0%)`: a card does not show local folders."""
    total = sum(rows["train"] for rows in mix.values())
    return ", ".join(
        f"{name if hub_dataset(name) else PurePath(name).name} {rows['train']:,}"
        f" ({share_text(rows['train'] / max(total, 1))})"
        for name, rows in mix.items()
    )
