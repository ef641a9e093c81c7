"""runs.compare on run folders of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sftplay.host.runs import compare
from sftplay.host.runs.view import require_run
from tests.browser import look_at, needs_browser
from tests.host.conftest import RunTask
from tests.host.runfolders import write_eval, write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_compared_runs_differ_where_they_differ_and_nowhere_else() -> None:
    views = [
        require_run(write_run(name, rate=rate).name) for name, rate in (("a", 0.001), ("b", 0.002))
    ]
    assert compare.differences(views) == [["train.learning_rate", "0.001", "0.002"]]
    views[1] = require_run(write_run("c", data_hash="sha256:other", versions={"torch": "9"}).name)
    assert compare.differences(views) == [
        ["versions.torch", "2.13.0", "9"],
        ["data_hash", "sha256:d", "sha256:other"],
    ] or compare.differences(views) == [
        ["data_hash", "sha256:d", "sha256:other"],
        ["versions.torch", "2.13.0", "9"],
    ]


def test_styles_that_the_data_has_are_compared_also_where_the_config_says_nothing() -> None:
    for name, prompt in (("a", "Speak like a pirate."), ("b", "Answer in rhyme.")):
        run = write_run(name)
        record = json.loads(run.record.read_text())
        run.record.write_text(
            json.dumps({**record, "style": {"prompt": prompt, "mode": "prepend"}})
        )
    views = [require_run(name) for name in ("a", "b")]
    assert compare.differences(views) == [
        ["style.prompt", "Speak like a pirate.", "Answer in rhyme."]
    ]


def test_a_broken_run_is_compared_as_far_as_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a")
    broken = write_run("b")
    broken.config.write_text("a: [")
    broken.stamp.write_text("{")
    shutil.rmtree(broken.folder / "attempts")
    compare.compare(["a", "b"])
    assert "b: backend.json: not valid JSON" in capsys.readouterr().err
    assert Path("outputs/compare-a-b.html").is_file()


@needs_browser
def test_the_comparison_fits_a_phone(tmp_path: Path) -> None:
    for number in range(5):
        write_eval(write_run(f"a-run-with-a-rather-long-name-{number}", rate=0.001 * (number + 1)))
    compare.compare([f"a-run-with-a-rather-long-name-{number}" for number in range(5)], "c.html")
    for look in look_at(Path("c.html"), tmp_path / "browser", (360, 1280)):
        assert (look.scroll <= look.width, look.wide, look.pictures) == (True, [], 2)


@needs_browser
def test_what_differs_wraps_on_a_desktop(tmp_path: Path) -> None:
    """Paths, hashes and names of six runs are broken before the table has to scroll."""
    names = [f"a-run-with-a-rather-long-name-{number}" for number in range(6)]
    for number, name in enumerate(names):
        run = write_run(name, rate=0.001 * (number + 1), data_hash=f"sha256:{number:064x}")
        record = json.loads(run.record.read_text())
        style = {"prompt": f"{number}{'/a/folder/with/more' * 20}", "mode": "prepend"}
        run.record.write_text(json.dumps({**record, "style": style}))
    compare.compare(names, "c.html")
    (look,) = look_at(Path("c.html"), tmp_path / "browser", (1400,))
    assert (look.scroll <= look.width, look.wide, look.scrolled) == (True, [], 0)


def test_equal_and_empty_rows_are_hidden(
    checkout: Path, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal values are named in one line; keys that a config is too old to have are no difference."""
    monkeypatch.chdir(checkout)
    first, _ = write_run("a"), write_run("b", rate=0.002)
    config = yaml.safe_load(first.config.read_text())
    config.setdefault("infer", {}).update(top_k=0, stop=[], system=None)
    first.config.write_text(yaml.safe_dump(config))
    end = run_task("runs.compare", "a", "b")
    assert end.returncode == 0, end.stderr
    lines = [line.split()[0] for line in end.stdout.splitlines() if line.strip()]
    assert "train.learning_rate" in lines and "state" not in lines
    assert not any(line.startswith("infer") for line in lines)
    assert "the same in all: state finished" in end.stderr


def test_evaluations_of_other_rows_are_not_compared_silently(
    checkout: Path, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    write_eval(write_run("a"), rows=20)
    write_eval(write_run("b"), rows=20)
    end = run_task("runs.compare", "a", "b")
    assert end.returncode == 0 and "not comparable" not in end.stderr
    assert "rows evaluated 20 of val" in end.stderr
    write_eval(write_run("c"), rows=20, first=15)
    end = run_task("runs.compare", "a", "c")
    assert end.returncode == 0
    assert (
        "not comparable: other rows. a: 20 rows of val; c: 20 rows of val; 5 are the same"
        in end.stderr
    )
    assert f"only in a: {0:016x}, {1:016x}, {2:016x} …" in end.stderr
    assert f"only in c: {20:016x}" in end.stderr
    assert "not comparable" in (checkout / "outputs/compare-a-c.html").read_text()
    write_eval(write_run("d"), "test", rows=20)
    assert "d: 20 rows of test" in run_task("runs.compare", "a", "d").stderr


def test_val_losses_of_other_rows_are_not_compared_silently(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither run was evaluated: the losses are those of the training."""
    for name, rows, split in (("a", 5, "1"), ("b", 7, "2"), ("c", 5, "1"), ("d", 5, "3")):
        run = write_run(name)
        data = {"rows": {"train": 20, "val": rows}, "values_hash": {"train": "t", "val": split}}
        record = {**json.loads(run.record.read_text()), "val_loss": 1.5, "data": data}
        run.record.write_text(json.dumps(record))
    compare.compare(["a", "b"])
    said = "val losses not comparable: other val rows. a: 5 rows; b: 7 rows"
    assert f"! {said}" in capsys.readouterr().err
    assert said in Path("outputs/compare-a-b.html").read_text()
    compare.compare(["a", "c", "d"])
    shown = capsys.readouterr().err
    assert shown.count("not comparable") == 1 and "a: 5 rows; d: 5 rows" in shown


def test_a_speed_that_counts_evaluations_is_marked() -> None:
    """Records without `step_seconds` are from before it was that of the steps alone."""
    for name, more in (("old", {}), ("new", {"step_seconds": 3.0})):
        run = write_run(name)
        record = {**json.loads(run.record.read_text()), "tokens_per_second": 1234.5, **more}
        run.record.write_text(json.dumps(record))
    rows = {row[0]: row[1:] for row in compare.outcome([require_run(n) for n in ("old", "new")])}
    assert rows["tokens/s"] == ["1,234 (with evaluations)", "1,234"]


def test_tasks_of_lm_eval_stand_side_by_side_with_their_rows() -> None:
    for name, tuned, rows in (("a", 0.5, 40), ("b", 0.75, 20), ("c", 0.0, 0)):
        run = write_run(name)
        if not rows:
            continue
        metrics = {"acc,none": {"base": 0.25, "tuned": tuned, "difference_interval": [0.1, 0.4]}}
        path = run.task("arc") / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"rows": {"arc": rows}, "metrics": metrics}))
    rows_of = {row[0]: row[1:] for row in compare.outcome([require_run(name) for name in "abc"])}
    shown = ["0.25 → 0.50, 40 rows", "0.25 → 0.75, 20 rows", ""]
    assert rows_of["task arc (lm-eval) acc,none"] == shown
