"""Two machines that prove their folder, as two threads: a lock belongs to an open file."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.doctor import shared


def both(first: Path, second: Path, wait: float) -> list[Future[int]]:
    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(shared.run, folder, wait) for folder in (first, second)]


def test_two_machines_with_one_folder(tmp_path: Path) -> None:
    assert [ended.result() for ended in both(tmp_path, tmp_path, 20)] == [0, 0]


def test_two_folders_are_not_shared(tmp_path: Path) -> None:
    for ended in both(tmp_path / "a", tmp_path / "b", 0.5):
        with pytest.raises(MachineError, match="did not come"):
            ended.result()


def test_locks_that_stay_on_each_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_locked", lambda fd: True)
    ends = []
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(shared.run, tmp_path, 20)
        while not (tmp_path / "first.json").exists():
            pass
        other = pool.submit(shared.run, tmp_path, 20)
        ends = [one, other]
    for ended in ends:
        with pytest.raises(MachineError, match="stay on each machine"):
            ended.result()
