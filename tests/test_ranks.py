"""Plan and records of ranks, and the exit code that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import ProtocolError
from sftplay.ranks import (
    RankEnd,
    RankRecord,
    RanksPlan,
    World,
    read_ends,
    read_plan,
    read_records,
    write_ends,
    write_plan,
    write_record,
)
from sftplay.ranks_end import ranks_end

PLAN = RanksPlan("n1", "01-bnb", 1, 2, 2, "none", "sha256:d")


def record(rank: int, code: int, cause: Any, time: float = 1.0, **more: Any) -> RankRecord:
    return RankRecord("n1", rank, 0, code, 3, time, cause, **more)


OWN, PEER, SIGNAL = "own", "peer", "signal"
# name: records, ends, signal of the front → code, rank
TABLE: dict[str, tuple[list[RankRecord], list[RankEnd], int, int, int | None]] = {
    "all done": ([record(0, 0, OWN), record(1, 0, OWN)], [], 0, 0, None),
    "one fails, the other loses it": (
        [record(0, 69, PEER, 1.0), record(1, 81, OWN, 2.0)],
        [RankEnd(0, 69), RankEnd(1, 81)],
        0,
        81,
        1,
    ),
    "the earliest failure counts": (
        [record(0, 74, OWN, 2.0), record(1, 81, OWN, 1.0)],
        [],
        0,
        81,
        1,
    ),
    "a failure counts more than a stop": (
        [record(0, 85, SIGNAL, 1.0), record(1, 81, OWN, 2.0)],
        [RankEnd(0, 85), RankEnd(1, 81)],
        15,
        81,
        1,
    ),
    "a bug": ([record(0, 69, PEER), record(1, 1, OWN)], [RankEnd(1, 1)], 0, 1, 1),
    "killed": ([record(0, 69, PEER)], [RankEnd(1, 137)], 0, 137, 1),
    "killed, and the other aborts": ([], [RankEnd(0, 134), RankEnd(1, 137)], 0, 137, 1),
    "crashed": ([], [RankEnd(0, 134)], 0, 134, 0),
    "killed by the agent after a lost peer": (
        [record(0, 69, PEER, waited=True)],
        [RankEnd(0, 69), RankEnd(1, 137, killed=True)],
        0,
        69,
        1,
    ),
    "all saved": (
        [record(0, 85, SIGNAL, 2.0), record(1, 85, SIGNAL, 1.0)],
        [RankEnd(1, 85)],
        0,
        85,
        1,
    ),
    "one saved, one had nothing": (
        [record(0, 143, SIGNAL, 1.0), record(1, 85, SIGNAL, 2.0)],
        [],
        15,
        85,
        1,
    ),
    "stopped before the loop": ([record(0, 143, SIGNAL), record(1, 143, SIGNAL)], [], 15, 143, 0),
    "stopped by Ctrl-C": ([record(0, 130, SIGNAL), record(1, 130, SIGNAL)], [], 2, 130, 0),
    "stopped before a rank had a handler": ([], [], 15, 143, None),
    "a second signal leaves no record": ([], [RankEnd(0, 143)], 0, 143, None),
    "the agent stops the others of a lost rank": (
        [record(0, 69, PEER, 1.0, waited=True), record(1, 143, SIGNAL, 2.0)],
        [RankEnd(0, 69)],
        0,
        69,
        1,
    ),
    "every rank lost the others": ([record(0, 69, PEER), record(1, 69, PEER)], [], 0, 69, 0),
    "a rank says nothing": ([record(0, 0, OWN)], [RankEnd(1, 2)], 0, 70, 1),
    "a rank is done and says nothing": ([record(0, 0, OWN)], [], 0, 70, 1),
    "handed over": ([record(0, 69, PEER), record(1, 79, OWN, handover={})], [], 0, 79, 1),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_exit_code_of_a_job(name: str) -> None:
    records, ends, asked, code, rank = TABLE[name]
    end = ranks_end(range(2), records, ends, asked)
    assert (end.code, end.rank) == (code, rank), end
    assert end.code != 1 or any(one.code == 1 for one in records)


def test_the_slow_rank_is_named() -> None:
    end = ranks_end(
        range(3), [record(0, 69, PEER, waited=True), record(2, 69, PEER, waited=True)], []
    )
    assert end.rank == 1 and end.reason.startswith("rank 1 did not answer")


def test_records_of_an_earlier_start_do_not_count(tmp_path: Path) -> None:
    write_record(tmp_path, record(0, 81, OWN))
    write_record(tmp_path, RankRecord("n2", 1, 0, 0, 3, 1.0, "own"))
    assert [one.rank for one in read_records(tmp_path, "n2")] == [1]
    path = write_plan(tmp_path, PLAN)
    assert read_plan(path) == PLAN
    assert read_records(tmp_path, "n1") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"nonce": "x"}'])
def test_a_plan_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ProtocolError):
        read_plan(tmp_path / "plan.json")


def test_ends_of_another_machine(tmp_path: Path) -> None:
    assert read_ends(tmp_path, "n1", 1) is None
    write_ends(tmp_path, "n1", 1, [RankEnd(2, 137)])
    assert read_ends(tmp_path, "n1", 1) == [RankEnd(2, 137)]
    assert read_ends(tmp_path, "other", 1) is None


def test_a_world_says_what_it_is() -> None:
    assert str(World(2, 3, 1, "full")) == "6 ranks on 3 machines, weights sharded"
    assert str(World()) == "1 rank"
