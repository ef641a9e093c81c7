"""Run folders: order by number, refusal of a second start, whole checkpoints only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftplay.attempts import checkpoints_in, newest_whole_checkpoint
from sftplay.errors import NotFoundError, RefusedError
from sftplay.manifest import sealed_folder
from sftplay.runs import Run


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _checkpoint(folder: Path, step: int) -> Path:
    with sealed_folder(folder / f"checkpoint-{step}", {"step": step}) as tmp:
        (tmp / "x").write_text(str(step))
    return folder / f"checkpoint-{step}"


def test_checkpoints_are_ordered_by_step_and_not_by_time(tmp_path: Path) -> None:
    for step in (10, 9, 100):
        _checkpoint(tmp_path, step)
    os.utime(tmp_path / "checkpoint-9", (4e9, 4e9))
    assert [step for step, _ in checkpoints_in(tmp_path)] == [9, 10, 100]


def test_the_newest_whole_checkpoint_is_chosen_and_torn_ones_are_named(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 2)
    (_checkpoint(tmp_path, 4) / "x").write_text("")
    (tmp_path / "checkpoint-6").mkdir()
    chosen, damaged = newest_whole_checkpoint(tmp_path)
    assert chosen == tmp_path / "checkpoint-2"
    assert [path.name for path, _ in damaged] == ["checkpoint-6", "checkpoint-4"]


def test_a_link_is_no_checkpoint(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 2)
    (tmp_path / "checkpoint-8").symlink_to("/")
    assert [step for step, _ in checkpoints_in(tmp_path)] == [2]


def test_a_second_start_is_refused_with_a_free_name() -> None:
    run = Run("demo")
    run.refuse_second_start()
    (run.folder / "attempts" / "01-bnb").mkdir(parents=True)
    run.attempts()[0].log.touch()
    run.refuse_second_start()  # killed while it loaded: nothing was begun
    run.attempts()[0].stamp.touch()
    Path("outputs/demo-2").mkdir()
    with pytest.raises(RefusedError) as caught:
        run.refuse_second_start()
    assert caught.value.code == 76
    assert "--resume" in caught.value.todo and "--run demo-3" in caught.value.todo


def test_an_untrained_run_is_not_found_with_what_to_do() -> None:
    Path("outputs/other").mkdir(parents=True)
    Path("outputs/other/config.yaml").write_text("")
    with pytest.raises(NotFoundError, match="runs here: other") as caught:
        Run("demo").require_tuned()
    assert "inv train" in caught.value.todo


def test_changed_weights_are_refused() -> None:
    run = Run("demo")
    with sealed_folder(run.adapter, {}) as tmp:
        (tmp / "adapter_model.safetensors").write_text("x")
    assert run.require_tuned() == run.adapter
    (run.adapter / "adapter_model.safetensors").write_text("y")
    with pytest.raises(RefusedError, match="was changed"):
        run.require_tuned()


def test_history_shows_a_broken_line_and_goes_on() -> None:
    run = Run("demo")
    run.record_event("started", attempt="01-bnb")
    with open(run.events, "a") as out:
        out.write('{"event": "fin\n')
    run.record_event("finished", step=3)
    assert [event["event"] for event in run.history()] == ["started", "unreadable", "finished"]
