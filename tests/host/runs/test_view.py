"""Run folders in every state of health."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError, UsageError
from sftplay.files import write_json
from sftplay.host.runs.view import read_run, read_runs, require_run
from sftplay.locks import hold
from sftplay.runs import Run
from tests.host.runfolders import write_eval, write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_finished_run() -> None:
    run = write_run("good", handed_over=True)
    write_eval(run)
    write_eval(run, "test")
    view = read_run(run)
    assert (view.state, view.problems) == ("finished", ())
    assert (view.backend, view.steps, view.loss, view.val_loss) == (
        "unsloth → bnb",
        "20",
        0.51,
        0.61,
    )
    assert view.seconds == 90
    rouge = view.metric("rouge_l")
    assert rouge is not None
    assert (rouge.split, rouge.base, rouge.tuned, rouge.rows) == ("val", 12.5, 40.0, 12)
    assert view.size > 1000


def test_states_follow_locks_and_events() -> None:
    cut = write_run("cut", finished=False)
    assert read_run(cut).state == "cut off"
    assert read_run(cut).steps == "10/20"
    with hold(cut.run_lock, who="a trainer"):
        assert read_run(cut).state == "running"
    cut.record_event("interrupted", step=10)
    assert read_run(cut).state == "interrupted"
    cut.record_event("resumed")
    cut.record_event("failed", step=12, error="NonFiniteError")
    assert read_run(cut).state == "failed"
    Run("empty").folder.mkdir()
    assert read_run(Run("empty")).state == "not begun"


def test_time_is_that_of_all_starts_without_the_pauses_between() -> None:
    run = write_run("paused", finished=False)
    run.events.write_text(
        "".join(
            json.dumps({"time": f"2026-03-01T{at}+00:00", "event": kind}) + "\n"
            for at, kind in (
                ("12:00:00", "started"),
                ("12:01:00", "interrupted"),
                ("18:00:00", "resumed"),
                ("18:00:30", "failed"),
            )
        )
    )
    assert read_run(run).seconds == 90


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: run.stamp.unlink(), "backend.json is gone"),
        (lambda run: run.stamp.write_text("{"), "backend.json: not valid JSON"),
        (lambda run: run.stamp.write_text("[" * 100_000), "backend.json: not valid JSON"),
        (
            lambda run: run.stamp.write_text(run.stamp.read_text().replace("sdpa", "eager")),
            "was edited or torn",
        ),
        (
            lambda run: write_json(run.stamp, {"schema_version": 0, "backend": "bnb"}),
            "schema 0, this sftplay knows 1",
        ),
        (
            lambda run: run.record.write_text("17"),
            "run.json: a JSON value, where an object belongs",
        ),
        (
            lambda run: run.events.write_bytes(b"\xff\x00{{{\n[1]\n"),
            "events.jsonl: 2 lines not readable",
        ),
        (lambda run: shutil.rmtree(run.adapter), "its weights are gone"),
        (lambda run: (run.adapter / "manifest.json").unlink(), "adapter/manifest.json is gone"),
        (lambda run: shutil.rmtree(run.folder / "attempts"), "attempts/ is gone"),
        (lambda run: run.config.unlink(), "config.yaml is gone"),
        (lambda run: run.attempts()[0].progress.write_text("{]"), "progress.json: not valid JSON"),
        (lambda run: (run.events.unlink(), run.events.mkdir()), ""),
        (lambda run: (run.stamp.unlink(), run.stamp.symlink_to("/nowhere")), "backend.json"),
    ],
)
def test_damage_is_said_and_the_others_are_still_listed(harm: object, said: str) -> None:
    write_run("a")
    broken = write_run("broken")
    write_run("z")
    harm(broken)  # type: ignore[operator]
    views = {view.name: view for view in read_runs()}
    assert [views[name].problems for name in ("a", "z")] == [(), ()]
    assert said in " ".join(views["broken"].problems)
    assert views["broken"].name == "broken"


def test_nonsense_in_numbers_is_no_number() -> None:
    run = write_run("odd")
    write_json(run.record, {"steps": "many", "last_loss": [1], "val_loss": True, "seconds": None})
    write_json(run.attempts()[0].progress, {"step": None, "loss": {}})
    write_json(run.eval("val") / "metrics.json", {"metrics": {"rouge_l": {"base": "x"}}})
    view = read_run(run)
    assert (view.steps, view.loss, view.val_loss, view.metric("rouge_l")) == ("", None, None, None)


def test_names_are_not_paths() -> None:
    with pytest.raises(UsageError):
        require_run("../etc")
    with pytest.raises(NotFoundError, match="runs here: none"):
        require_run("nothing")


def test_links_to_runs_are_shown_and_files_are_not() -> None:
    run = write_run("real")
    Path("outputs/link").symlink_to(run.folder.absolute())
    Path("outputs/report.html").touch()
    Path("outputs/.hidden").mkdir()
    assert [view.name for view in read_runs()] == ["link", "real"]
