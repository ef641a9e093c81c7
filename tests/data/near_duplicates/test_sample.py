"""Samples of rows: chosen by their keys, in any order."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import orjson
import pytest

from sftplay.data.near_duplicates import sample


def test_a_sample_chosen_while_rows_are_written_is_the_one_that_a_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 100)
    keys = [random.Random(n).getrandbits(64) for n in range(5000)]
    lines = [orjson.dumps({"messages": [], "id": f"{key:016x}", **{}}) + b"\n" for key in keys]
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    chosen = sample.Sample(2)
    for number, path in enumerate(paths):
        mine = slice(2000) if number == 0 else slice(2000, None)
        path.write_bytes(b"".join(lines[mine]))
        for first in range(0, 3000, 300):
            part = slice(first, first + 300)
            chosen.add(
                number, array("Q", keys[mine][part]), array("L", map(len, lines[mine][part]))
            )
    for number, path in enumerate(paths):
        searched = [at for some in sample.searched(number, path, 100 / 5000) for at in some.at]
        assert chosen.of(number, 100 / 5000) == searched
        assert 20 < len(searched) < 120
        assert chosen.of(number, 0.5) is None
