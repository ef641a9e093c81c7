"""Check that every weight of a loaded model comes from its files, and that every tensor of the
files is in the model.

transformers fills what the files lack with random numbers, and passes over what it has no place
for; its report of a load says which (names are compared after its own conversions and exceptions).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.base_model import foreign, tensor_list, wrapped, wrapper_of
from sftplay.settings import ModelSettings


def require_complete(
    report: Mapping[str, Any], architecture: str, folder: Path, wanted: ModelSettings
) -> None:
    """Refuse a model of which a part is random, or whose files hold another model.

    Args:
        report: what `from_pretrained(…, output_loading_info=True)` returns with the model.
        architecture: name of the model's class.

    Raises:
        NotFoundError: tensors are missing, without a place, or of another shape (66).
    """
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    mismatched = sorted(report["mismatched_keys"])
    if (prefix := wrapper_of(unexpected)) and missing:
        raise wrapped(prefix, len(unexpected), folder)
    problems = []
    if missing:
        problems.append(f"{_count(missing)} missing ({tensor_list(missing)})")
    if mismatched:
        name, found, needed = mismatched[0]
        problems.append(
            f"{_count(mismatched)} of another shape ({name} is {tuple(found)}, and the config "
            f"says {tuple(needed)})"
        )
    if unexpected and (problems or wanted.extra_weights == "error"):
        problems.append(
            f"{_count(unexpected)} without a place in {architecture} ({tensor_list(unexpected)})"
        )
    if problems:
        raise foreign("; ".join(problems), folder, _todo(missing, mismatched))
    if unexpected:
        console.warning(
            f"{_count(unexpected)} of {folder} left out, since {architecture} has no place for "
            f"them (model.extra_weights: ignore): {tensor_list(unexpected)}"
        )


def _count(names: list[Any]) -> str:
    return console.count_of(len(names), "tensor")


def _todo(missing: list[str], mismatched: list[Any]) -> str:
    if missing or mismatched:
        return ""
    return (
        "put the config.json and the weights of one model there; if the model works without these "
        "tensors, leave them out: --set model.extra_weights=ignore"
    )
