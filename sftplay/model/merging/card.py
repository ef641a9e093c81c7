"""The README.md of a merged model: a model card with what a stranger has to know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sftplay.errors import SftplayError
from sftplay.files import read_json
from sftplay.model.evaluation.metrics import METRICS

_USE = """## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")
messages = [{"role": "user", "content": "…"}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens=256)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```"""


def model_card(
    record: Mapping[str, Any],
    stamp: Mapping[str, Any],
    proof: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """The card.

    Args:
        record: the run's run.json.
        stamp: its backend.json.
        proof: the merge's proof.json.
        metrics: split → metrics.json of evaluations of these very weights.
    """
    head = {
        "base_model": stamp["base_model"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sftplay", "sft", stamp["tuning_method"]],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {record['name']}",
        f"{stamp['base_model']}, fine-tuned with supervised examples ({_method(stamp)}) by sftplay {stamp['versions']['sftplay']}.",
        "\n".join(
            [
                "| | |",
                "|---|---|",
                *(f"| {key} | {value} |" for key, value in _facts(record, stamp, proof).items()),
            ]
        ),
        *(_evaluation(split, metrics[split]) for split in sorted(metrics)),
        _USE,
        "The license of the base model and of the training data apply to this model.",
    ]
    return "\n\n".join(parts) + "\n"


def metrics_of(folder: Path, weights: str) -> dict[str, Any]:
    """Evaluations under `folder` (outputs/<run>/eval) that measured these weights, by split."""
    found = {}
    for path in sorted(folder.glob("*/metrics.json")):
        try:
            metrics = read_json(path)
            if metrics["model"]["weights"] == weights:
                found[str(metrics["split"])] = metrics
        except (SftplayError, KeyError, TypeError):
            continue  # damaged, or another version's: the card does without it
    return found


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
    record: Mapping[str, Any], stamp: Mapping[str, Any], proof: Mapping[str, Any]
) -> dict[str, str]:
    data, rounding = record["data"], proof["rounding"]
    facts = {
        "base model": stamp["base_model"]
        + (f" at {stamp['revision']}" if stamp.get("revision") else ""),
        "training rows": f"{data['rows']['train']:,} ({data['trained_tokens']['train']:,} trained tokens)",
        "steps": f"{record.get('steps')}",
        "backend": f"{stamp['backend']}, {stamp['precision']}",
        "weights": f"{proof['dtype']}; rounding moves a logit by {rounding['max_logit_difference']:.3g} at most, "
        f"likeliest token the same at {rounding['top1_agreement']:.1%} of the positions",
        "end of turn": f"`{record['template']['eot']}`",
        "versions": ", ".join(
            f"{name} {version}" for name, version in sorted(stamp["versions"].items())
        ),
    }
    if record["template"].get("date"):
        facts["date"] = (
            f"trained with {record['template']['date']} in the template, which prints today's date"
        )
    if proof["arithmetic"]:
        drift = proof["arithmetic"]["max_logit_difference"]
        facts["merge"] = (
            f"onto the full-precision base; differs from base + adapter by {drift:.1e} in a logit at most (fp32)"
        )
    return facts


def _evaluation(split: str, metrics: Mapping[str, Any]) -> str:
    names = {"loss": "loss", "perplexity": "perplexity", **METRICS}
    rows = sum(metrics["rows"].values())
    lines = [f"## Evaluation ({split}, {rows:,} rows)", "", "| | base | tuned |", "|---|---:|---:|"]
    for key, title in names.items():
        values = metrics["metrics"][key]
        lines.append(f"| {title} | {values['base']:.3f} | {values['tuned']:.3f} |")
    return "\n".join(lines)
