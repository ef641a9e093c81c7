"""The rows that an evaluation looks at: which ones, their prompts and references, and whether they
are those of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from sftplay.data.tokenizing.artifact import read_split
from sftplay.errors import DataError, NotFoundError
from sftplay.freshness import read_stamp
from sftplay.model.answers.last_answer import HeldOut, held_out, is_trained
from sftplay.places import data_folder
from sftplay.settings import Settings

# `all`: everything that was held out. The train split is no part of it: what was trained on says
# nothing about what was learned.
SPLIT_FILES: Mapping[str, tuple[str, ...]] = {
    "val": ("val",),
    "test": ("test",),
    "all": ("val", "test"),
}


def read_rows(
    settings: Settings, split: str, samples: int | None
) -> tuple[list[HeldOut], dict[str, int]]:
    """The rows of a split in a stable order, and how many come from which file.

    The order is that of the row ids, which are hashes of the content: the first N of it are a
    random choice, and the same one every time, also when the raw file was reordered.

    Args:
        settings: the dataset's.
        split: val, test or all.
        samples: only so many rows; None: all.

    Raises:
        NotFoundError: nothing was tokenized (66). DataError: the split is empty (65).
    """
    folder = data_folder("tokenized", settings)
    if not folder.is_dir():
        raise NotFoundError(
            "no tokenized rows",
            where=str(folder),
            todo="make them: inv full-pipeline, then inv tokenize",
        )
    found: list[tuple[str, str, HeldOut]] = []
    for name in SPLIT_FILES[split]:
        rows = read_split(folder / f"{name}.arrow").to_pylist()
        found += [(row["id"], name, held_out(row)) for row in rows if is_trained(row)]
    if not found:
        raise DataError(
            f"the {split} split is empty: nothing to evaluate on",
            where=str(folder),
            todo="give it a share of the rows (--set data.val_share=0.1 or data.test_share), then run: inv process, inv render, "
            "inv tokenize; or evaluate another split: --split "
            + ("test" if split == "val" else "val"),
        )
    chosen = sorted(found, key=lambda entry: entry[:2])[:samples]
    return [row for *_, row in chosen], {
        name: sum(each == name for _, each, _ in chosen) for name in SPLIT_FILES[split]
    }


def user_words(settings: Settings, split: str, ids: Collection[str]) -> dict[str, str]:
    """Row id → the user's last words, for these rows; without the rows that data/processed does not
    have.
    """
    found: dict[str, str] = {}
    for name in SPLIT_FILES[split]:
        path = data_folder("processed", settings) / f"{name}.jsonl"
        if not path.is_file():
            continue
        with open(path, "rb") as lines:
            for row in map(orjson.loads, lines):
                if row["id"] in ids:
                    words = (m["content"] for m in reversed(row["messages"]) if m["role"] == "user")
                    found[row["id"]] = next(words, "")
    return found


def changes_since(
    record: Mapping[str, Any], settings: Settings, splits: Sequence[str]
) -> list[str]:
    """List the differences between data/tokenized and the data that the run was trained with; a
    line each.

    Args:
        record: the run's run.json.
        settings: the dataset's.
        splits: the files that are evaluated.
    """
    stamp = read_stamp(data_folder("tokenized", settings))
    if stamp is None:
        return ["data/tokenized has no stamp: nobody knows what made it"]
    trained, lines = record["data"], []
    if stamp.facts.get("template_hash") != record["template"]["hash"]:
        lines.append(
            "the chat template is another one than the run's: the loss is that of answers in a strange form"
        )
    now, then = stamp.facts.get("values_hash") or {}, trained.get("values_hash") or {}
    for name in ("train", *splits):
        if now.get(name) != then.get(name):
            counts = [(facts.get("rows") or {}).get(name) for facts in (trained, stamp.facts)]
            size = (
                f"{counts[0]} rows then, {counts[1]} now"
                if counts[0] != counts[1]
                else f"{counts[1]} rows, with other content"
            )
            lines.append(f"the {name} split changed: {size}" + _consequence(name))
    return lines


def _consequence(name: str) -> str:
    return "; rows that are held out now may have been trained on" if name == "train" else ""
