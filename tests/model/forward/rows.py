"""Three rows of different lengths, with 8 trained tokens."""

from __future__ import annotations

from typing import Any

from sftplay.model.forward.collate import IGNORED

ROWS: list[dict[str, Any]] = [
    {"input_ids": [5, 6, 7, 8, 2], "labels": [IGNORED, IGNORED, 7, 8, 2]},
    {
        "input_ids": [9, 2, 2, 10, 11, 12, 13, 2],
        "labels": [IGNORED, IGNORED, 2, IGNORED, IGNORED, 12, 13, 2],
    },
    {"input_ids": [3, 4], "labels": [IGNORED, 4]},
]
