"""A val split with few rows says little: it gets some more where the data has enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import nsmallest
from pathlib import Path

import orjson

from sftplay import console
from sftplay.console import count_of
from sftplay.data.near_duplicates.groups import move_lines

FLOOR, FROM = 20, 200  # rows in val at least, where there are so many in all


def fill_val(folder: Path, rows: Mapping[str, int], grouped: Collection[str]) -> dict[str, int]:
    """Move rows from train to val until it has FLOOR, and return the new counts.

    The rows with the lowest keys go, which are those that a slightly larger `data.val_share` would
    choose.

    Args:
        grouped: ids of rows that belong to a group of near duplicates; they stay.
    """
    wanted = FLOOR - rows["val"]
    if wanted <= 0 or sum(rows.values()) < FROM:
        return dict(rows)
    files = [folder / "train.jsonl", folder / "val.jsonl"]
    candidates, at = [], 0
    with open(files[0], "rb") as lines:
        for line in lines:
            row_id = orjson.loads(line)["id"]
            if row_id not in grouped:
                candidates.append((row_id, at))
            at += len(line)
    chosen = nsmallest(wanted, candidates)
    move_lines(files, {(0, place): 1 for _, place in chosen})
    if chosen:
        console.info(
            f"val: {count_of(rows['val'])} by data.val_share, raised to {rows['val'] + len(chosen)}: "
            f"fewer say little (data with {FROM} rows or more; data.val_share: 0 for none)"
        )
    return {**rows, "train": rows["train"] - len(chosen), "val": rows["val"] + len(chosen)}
