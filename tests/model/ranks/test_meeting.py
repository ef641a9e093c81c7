"""Machines that meet before their ranks start, on loopback, in threads of one process."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import MachineError
from sftplay.model.ranks import meeting
from sftplay.model.ranks.meeting import Meeting, announce, follow, meeting_of
from sftplay.ranks import RanksPlan, write_plan

PLAN = RanksPlan("n7", "01-bnb", 2, 1, 2, "none", "sha256:d")


@pytest.fixture
def places() -> tuple[Meeting, Meeting]:
    where = f"127.0.0.1:{meeting.free_port()}"
    first = meeting_of(where, "lo", 2, 0)
    return first, meeting_of(where, "lo", 2, 1)


def both(first: Meeting, second: Meeting, folder: Path) -> tuple[Future[None], Future[Any]]:
    with ThreadPoolExecutor(2) as pool:
        return (
            pool.submit(announce, first, folder, PLAN, ["train", "--config", "a.yaml"]),
            pool.submit(follow, second, 1),
        )


def test_the_other_machine_gets_plan_and_command(
    tmp_path: Path, places: tuple[Meeting, Meeting]
) -> None:
    write_plan(tmp_path, PLAN)
    told, heard = both(*places, tmp_path)
    assert told.result() is None
    assert heard.result() == (tmp_path, PLAN, ["train", "--config", "a.yaml"])
    assert (tmp_path / "here-1").read_text() == "n7"


def test_a_folder_that_is_not_shared(
    tmp_path: Path, places: tuple[Meeting, Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_SHOWS", 0.3)
    write_plan(tmp_path, replace(PLAN, nonce="of an earlier start"))
    for ended in both(*places, tmp_path):
        with pytest.raises(MachineError, match="not a shared folder") as caught:
            ended.result()
        assert "NFS" in caught.value.todo


def test_a_machine_that_ends_early_is_not_waited_for(places: tuple[Meeting, Meeting]) -> None:
    first, second = places
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(follow, second, 1)
        first.store.set("sftplay/plan", "not JSON")
        with pytest.raises(Exception, match="something unknown"):
            heard.result(timeout=30)


def test_a_port_that_is_in_use() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MachineError, match="can't meet"):
            meeting_of(where, "lo", 2, 0)
