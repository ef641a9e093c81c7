"""Cards that follow what is measured: of a merged model with its proof, and of every folder of a
run after an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import BusyError
from sftplay.fingerprint import fingerprint
from sftplay.locks import hold
from sftplay.manifest import MANIFEST, replace_file
from sftplay.model.weights.card import card, evaluations_of
from sftplay.model.weights.trained_run import RunFacts
from sftplay.settings import Settings
from sftplay.untrusted import read_json


def merged_card(
    facts: RunFacts, settings: Settings, proof: Mapping[str, Any], evaluations: Mapping[str, Any]
) -> str:
    """The card of a merged model.

    Args:
        proof: the merge's proof.json.
        evaluations: split → metrics.json of evaluations of these very weights.
    """
    return card(
        facts.record,
        facts.stamp,
        settings,
        adapter=False,
        evaluations=evaluations,
        more=_proved(proof),
    )


def refresh_cards(facts: RunFacts, settings: Settings) -> None:
    """Write the evaluations of a run's weights into the cards of its folders.

    A folder that another process may be writing just now keeps its card, which is reported.
    """
    run = facts.run
    weights = fingerprint(facts.tuned)
    found = evaluations_of(run.folder / "eval", weights)
    adapter = facts.method != "full"
    tuned = card(facts.record, facts.stamp, settings, adapter=adapter, evaluations=found)
    _replace(facts.tuned, tuned, run.run_lock)
    if not (run.merged / MANIFEST).is_file():
        return
    proof = read_json(run.merged / "proof.json")
    if proof["tuned_weights"] == weights:
        text = merged_card(facts, settings, proof, found)
        _replace(run.merged, text, run.folder / ".merge.lock")


def _replace(folder: Path, text: str, lock: Path) -> None:
    try:
        with hold(lock, who="a new model card"):
            replace_file(folder, "README.md", text)
    except BusyError as busy:
        console.info(f"{folder}/README.md does not show this evaluation yet: {busy.what}")


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
