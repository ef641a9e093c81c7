"""The README.md of a merged model: a model card with the merge's proof and its evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay.errors import SftplayError
from sftplay.model.evaluation.metrics import METRICS
from sftplay.model.weights.card import card
from sftplay.places import PublishedBase
from sftplay.untrusted import read_json


def model_card(
    record: Mapping[str, Any],
    stamp: Mapping[str, Any],
    base: PublishedBase,
    proof: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """The card.

    Args:
        record: the run's run.json.
        stamp: its backend.json.
        base: the base model as others find it.
        proof: the merge's proof.json.
        metrics: split → metrics.json of evaluations of these very weights.
    """
    sections = [_evaluation(split, metrics[split]) for split in sorted(metrics)]
    return card(record, stamp, base, adapter=False, more=_proved(proof), sections=sections)


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


def _proved(proof: Mapping[str, Any]) -> dict[str, str]:
    rounding = proof["rounding"]
    facts = {
        "weights": f"{proof['dtype']}; rounding moves a logit by {rounding['max_logit_difference']:.3g} at most, "
        f"likeliest token the same at {rounding['top1_agreement']:.1%} of the positions",
    }
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
