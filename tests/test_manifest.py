"""A sealed folder exists when its manifest verifies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from sftplay import stops
from sftplay.errors import StoppedError
from sftplay.manifest import problem_with, sealed_folder, sweep


def _make(target: Path, text: str = "weights") -> None:
    with sealed_folder(target, {"step": 3}) as tmp:
        (tmp / "a.bin").write_text(text)
        (tmp / "sub").mkdir()
        (tmp / "sub" / "b").write_text("b")


def test_whole(tmp_path: Path) -> None:
    _make(tmp_path / "checkpoint-3")
    assert problem_with(tmp_path / "checkpoint-3") is None
    assert os.listdir(tmp_path) == ["checkpoint-3"]


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        "changed",
        "gone",
        "torn manifest",
        "empty manifest",
        "no manifest",
        "link",
        "pipe",
        "no files",
    ],
)
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "checkpoint-3"
    _make(folder)
    match damage:
        case "cut":
            (folder / "a.bin").write_text("wei")
        case "changed":
            (folder / "a.bin").write_text("Weights")
        case "gone":
            (folder / "sub" / "b").unlink()
        case "torn manifest":
            text = (folder / "manifest.json").read_text()
            (folder / "manifest.json").write_text(text[: len(text) // 2])
        case "empty manifest":
            (folder / "manifest.json").write_text("")
        case "no manifest":
            (folder / "manifest.json").unlink()
        case "link":
            (folder / "a.bin").rename(tmp_path / "a.bin")
            (folder / "a.bin").symlink_to(tmp_path / "a.bin")
        case "pipe":
            (folder / "manifest.json").unlink()
            os.mkfifo(folder / "manifest.json")
        case "no files":
            (folder / "manifest.json").write_text('{"files": {}}')
    assert problem_with(folder) is not None


def test_a_failed_save_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    _make(folder, "old")
    with pytest.raises(RuntimeError), sealed_folder(folder, {}) as tmp:
        (tmp / "a.bin").write_text("new")
        raise RuntimeError
    assert (folder / "a.bin").read_text() == "old"
    assert problem_with(folder) is None
    assert os.listdir(tmp_path) == ["adapter"]


def test_replacing_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    _make(tmp_path / "adapter", "old")
    with sealed_folder(tmp_path / "adapter", {}) as tmp:
        (tmp / "c").write_text("new")
    assert sorted(os.listdir(tmp_path / "adapter")) == ["c", "manifest.json"]
    assert os.listdir(tmp_path) == ["adapter"]


def test_sweep_removes_what_a_kill_left(tmp_path: Path) -> None:
    (tmp_path / ".tmp-checkpoint-9.123").mkdir()
    (tmp_path / ".tmp-checkpoint-9.123" / "x").write_text("x")
    _make(tmp_path / "checkpoint-3")
    time.sleep(0.1)  # a file that is younger could be without its lock yet
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["checkpoint-3"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_it_verifies_is_no_damage(
    tmp_path: Path, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops._Request, "stopped", None)  # forgotten after this test
    size = 8 << 30  # sparse; many seconds of hashing, of which a fraction is done
    with open(tmp_path / "weights.bin", "wb") as weights:
        weights.truncate(size)
    listed = {"weights.bin": {"size": size, "hash": "sha256:0"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": listed}))
    before = signal.signal(signum, stops.stop)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signum)).start()
        with pytest.raises(StoppedError) as stopped:
            problem_with(tmp_path)
    finally:
        signal.signal(signum, before)
    assert stopped.value.code == 128 + signum


def test_no_clause_for_failures_catches_a_stop() -> None:
    assert not issubclass(StoppedError, Exception)
