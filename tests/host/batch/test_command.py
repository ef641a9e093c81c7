"""Batches: what they decide to do, and (long) a whole one that is killed and continues."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.config import dump_config
from sftplay.files import write_json
from sftplay.host.batch import summary, work
from sftplay.host.batch.expand import Experiment, expand
from sftplay.host.batch.file import read
from sftplay.host.batch.plan import data_key, data_steps, decide
from sftplay.host.batch.workers import ParallelWorkers, SequentialWorkers, make_workers
from sftplay.locks import hold
from sftplay.runs import Run
from sftplay.stages import BY_NAME
from tests.browser import look_at, needs_browser
from tests.host.conftest import RunTask
from tests.host.runfolders import write_data, write_eval, write_run

FILE = """
sort_by: {sort}
config: configs/base.yaml
datasets: {{rows: {{raw: data/raw}}}}
experiments:
  - {{name: a, dataset: rows, set: {{train.learning_rate: 0.001}}}}
  - {{name: b, dataset: rows, set: {{train.learning_rate: 0.002}}}}
  - {{name: c, dataset: rows, set: {{train.learning_rate: 0.003}}}}
"""


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Experiment]:
    """Three experiments in an empty project."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.jsonl").write_text('{"user": "a", "assistant": "b"}\n')
    Path("configs/base.yaml").write_text("model: {name: smollm2-135m-instruct}\n")
    path = Path("configs/batch.yaml")
    path.write_text(FILE.format(sort="rouge_l"))
    return {one.name: one for one in expand(read(path), path)}


def begun(experiment: Experiment, *, finished: bool = True) -> Run:
    """Its run folder, with its own config."""
    run = write_run(experiment.name, finished=finished)
    run.config.write_text(dump_config(experiment.settings))
    return run


def test_every_state_has_its_action(three: dict[str, Experiment]) -> None:
    a = three["a"]
    assert decide(a, ["val"]).action == "train"
    run = begun(a, finished=False)
    assert decide(a, ["val"]).action == "resume"
    assert "step 10/20" in decide(a, ["val"]).reason
    with hold(run.run_lock, who="a trainer"):
        assert decide(a, ["val"]).action == "watch"
    run = begun(three["b"])
    assert decide(three["b"], ["val"]).action == "evaluate"
    assert decide(three["b"], []).action == "skip"
    write_eval(run)
    assert decide(three["b"], ["val"]).action == "skip"
    assert decide(three["b"], ["val", "test"]).reason == "trained; not evaluated on test"


def test_a_run_that_is_something_else_is_left_alone(three: dict[str, Experiment]) -> None:
    run = begun(three["a"])
    run.config.write_text(dump_config(three["b"].settings))
    step = decide(three["a"], [])
    assert (step.action, "train.learning_rate" in step.reason) == ("refuse", True)
    run.config.unlink()
    assert decide(three["a"], []).action == "refuse"


def test_a_run_on_other_rows_is_left_alone(three: dict[str, Experiment]) -> None:
    begun(three["a"])
    write_json(
        Path("data/tokenized_rows/stamp.json"),
        {
            "stage": "tokenize",
            "source": "",
            "section": {},
            "facts": {"values_hash": {"train": "sha256:new"}},
        },
    )
    assert "other rows" in decide(three["a"], []).reason


def test_killed_before_its_first_step_it_begins_anew(three: dict[str, Experiment]) -> None:
    run = Run("a")
    (run.folder / "attempts/01-bnb").mkdir(parents=True)
    (run.folder / "attempts/01-bnb/train.log").touch()
    assert decide(three["a"], []).action == "train"


def test_data_is_made_again_when_files_or_settings_change(three: dict[str, Experiment]) -> None:
    experiments = list(three.values())
    (step,) = data_steps(experiments, {})
    assert step.reason == "data/processed_rows is not made yet"
    for kind in ("processed", "rendered", "tokenized"):
        write_json(Path(f"data/{kind}_rows/stamp.json"), {})
    known = {"rows": step.key}
    assert [one.reason for one in data_steps(experiments, known)] == [""]
    Path("data/raw/b.jsonl").write_text("{}")
    assert [one.reason for one in data_steps(experiments, known)] == [
        "its files or its settings changed"
    ]
    before = data_key(three["a"].settings)
    assert (
        data_key(three["b"].settings) == before
    )  # what shapes the training does not shape the rows


def test_the_table_is_sorted_by_the_metric_of_the_file(
    three: dict[str, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rouge, loss in (("a", 10.0, 1.0), ("b", 30.0, 2.0)):
        run = begun(three[name])
        write_eval(run)
        record = json.loads((run.eval("val") / "metrics.json").read_text())
        record["metrics"]["rouge_l"]["tuned"], record["metrics"]["loss"]["tuned"] = rouge, loss
        write_json(run.eval("val") / "metrics.json", record)
    for sort, order in (
        ("rouge_l", ["b", "a", "c"]),
        ("loss", ["a", "b", "c"]),
        ("name", ["a", "b", "c"]),
    ):
        Path("configs/batch.yaml").write_text(FILE.format(sort=sort))
        parsed = read(Path("configs/batch.yaml"))
        rows = summary.rows_of(parsed, list(three.values()), {})
        assert [row.experiment.name for row in rows] == order
    summary.show(
        Path("outputs/batch-batch"), parsed, list(three.values()), {"c": "train ended with 80"}
    )
    written = list(csv.DictReader(Path("outputs/batch-batch/summary.csv").read_text().splitlines()))
    assert [(row["experiment"], row["rouge_l_tuned"], row["outcome"]) for row in written] == [
        *(("a", "10.0", ""), ("b", "30.0", ""), ("c", "", "train ended with 80"))
    ]
    assert "| a | rows |" in Path("outputs/batch-batch/summary.md").read_text()
    assert "12.5 → 30.0" in capsys.readouterr().out


@needs_browser
def test_the_report_of_a_batch(three: dict[str, Experiment], tmp_path: Path) -> None:
    for name in ("a", "b"):
        run = begun(three[name])
        write_eval(run)
        write_data(run)
    path, page = work.folder_of(Path("configs/batch.yaml")) / "report.html", ""
    from sftplay.host.report.batch import of_batch

    path, page = of_batch(Path("configs/batch.yaml"))
    path.parent.mkdir(parents=True)
    path.write_text(page, encoding="utf-8")
    for words in (
        "3 experiments on 1 datasets",
        "rouge_l after training",
        "train.learning_rate",
        "Training loss",
        "not begun",
    ):
        assert words in page, words
    for look in look_at(path, tmp_path / "browser"):
        assert (look.scroll <= look.width, look.wide, look.scripts) == (True, [], 0)


def test_one_worker_for_one_slot_and_several_for_several(tmp_path: Path) -> None:
    assert isinstance(make_workers((None,), "local", tmp_path), SequentialWorkers)
    assert isinstance(make_workers(("0", "1"), "local", tmp_path), ParallelWorkers)


def test_jobs_side_by_side_each_see_one_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = ParallelWorkers(("0", "1"), "local", tmp_path)
    program = (
        tmp_path / "sitecustomize.py"
    )  # runs in every Python that is started: it says which GPU it was given
    program.write_text(
        "import os, sys, time\nprint('GPU', os.environ['CUDA_VISIBLE_DEVICES'], time.time(), flush=True)\ntime.sleep(0.5)\n"
    )
    monkeypatch.setattr("sftplay.host.batch.workers.CHECKOUT", tmp_path)
    call = StageCall(BY_NAME["process"], "x.yaml")
    results = dict(
        workers.run_jobs(
            {name: lambda one, name=name: (name, one.run_stage(call)) for name in "abcd"}
        )
    )
    assert set(results) == set("abcd")
    seen = [(tmp_path / f"{name}.log").read_text().split("\n")[0].split() for name in "abcd"]
    assert sorted({gpu for _, gpu, _ in seen}) == ["0", "1"]
    times = sorted(float(at) for _, _, at in seen)
    assert times[1] - times[0] < 0.4 < times[2] - times[0]  # two at a time


@pytest.mark.usefixtures("environment")
def test_data_that_cannot_be_made_fails_its_experiments_and_says_so(
    checkout: Path, run_task: RunTask
) -> None:
    (checkout / "data/raw").mkdir(parents=True)
    (checkout / "data/raw/mine.jsonl").write_text('{"user": "a question without an answer"}\n')
    (checkout / "configs/batch.yaml").write_text(
        "datasets: {bad: {raw: data/raw}}\nexperiments:\n  - {name: one, dataset: bad}\n  - {name: two, dataset: bad}\n"
    )
    done = run_task("batch")
    assert done.returncode == 65, done.stderr
    assert done.stderr.count("no data: process ended with 65") == 2
    assert (
        "data/raw/mine.jsonl" in done.stderr and "inv batch does only what is left" in done.stderr
    )
    assert not (checkout / "outputs/one").exists()
    assert (checkout / "outputs/batch-batch/summary.csv").is_file()
    listed = run_task("runs")
    assert "no runs yet" in listed.stderr  # the batch's own folder is no run


@pytest.mark.usefixtures("environment")
def test_what_ends_well_and_leaves_nothing_is_no_success_and_costs_little_time(
    checkout: Path, run_task: RunTask
) -> None:
    """A stack whose Python does nothing: what is left is what the batch itself takes."""
    (python,) = (checkout / ".envs").glob("cpu-*/bin/python")
    python.write_text("#!/bin/sh\nexit 0\n")
    (checkout / "data/raw").mkdir(parents=True)
    (checkout / "model").mkdir()
    (checkout / "model/config.json").write_text("{}")
    common = "set: {model.name: ./model, train.device: cpu}, matrix: {train.seed: [1, 2, 3, 4, 5, 6, 7, 8]}"
    (checkout / "configs/batch.yaml").write_text(
        f"datasets: {{a: {{raw: data/raw}}}}\nexperiments:\n  - {{name: n, dataset: a, {common}}}\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_task("batch", "--runner", "local")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 70, done.stderr
    assert "n-seed8: train ended with 0 and left no trained weights" in done.stderr
    assert "0 of 8 experiments are done, 8 failed" in done.stderr
    assert (after.ru_utime - before.ru_utime) + (
        after.ru_stime - before.ru_stime
    ) < 8  # seconds of work, one for each
    stopped = run_task("batch", "--runner", "local", "--stop-on-error")
    assert stopped.returncode == 70 and "0 of 8 experiments are done, 1 failed" in stopped.stderr


@pytest.mark.long  # a dozen stages, each with its imports: minutes on a slow machine
@pytest.mark.usefixtures("environment")
def test_a_grid_is_killed_and_goes_on(checkout: Path, run_task: RunTask, tiny_model: Path) -> None:
    (checkout / "data/raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    common = f"model.name: {tiny_model}, train.method: lora, eval.max_new_tokens: 4, data.val_share: 0.2, data.test_share: 0"
    (checkout / "configs/batch.yaml").write_text(
        f"""sort_by: loss
datasets:
  sums: {{raw: data/raw}}
  brief: {{raw: data/raw, style: Be brief.}}
experiments:
  - {{name: quick, dataset: [sums, brief], set: {{{common}, train.max_steps: 2}}}}
  - {{name: slow, dataset: sums, set: {{{common}, train.max_steps: 400, train.save_steps: 5}}}}
  - {{name: wrong, dataset: sums, set: {{{common}, train.max_steps: 2, train.learning_rate: 1e30}}}}
"""
    )
    with open(checkout / "screen", "wb") as screen:
        first = subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "batch"],
            cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip
    progress, deadline = (
        checkout / "outputs/slow/attempts/01-bnb/progress.json",
        time.monotonic() + 400,
    )
    while not progress.exists() and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=120) == 85, (checkout / "screen").read_text()
    assert "continues from there" in (checkout / "screen").read_text()
    before = {path: path.stat().st_mtime_ns for path in (checkout / "data").rglob("*.arrow")}
    assert len(before) == 6

    config = checkout / "configs/batch.yaml"
    plan = run_task("batch", "--dry-run").stdout
    assert (
        "quick-sums: skip (finished)" in plan
        and "slow: resume (interrupted" in plan
        and "wrong: train" in plan
    )
    assert "data brief: current" in plan
    done = run_task("batch", env={"OMP_NUM_THREADS": "2"}, timeout=1500)
    assert done.returncode == 80, done.stderr
    assert "2 of" not in done.stderr and "3 of 4 experiments are done, 1 failed" in done.stderr
    assert {
        path: path.stat().st_mtime_ns for path in (checkout / "data").rglob("*.arrow")
    } == before
    written = {
        row["experiment"]: row
        for row in csv.DictReader(
            (checkout / "outputs/batch-batch/summary.csv").read_text().splitlines()
        )
    }
    assert written["slow"]["state"] == "finished" and float(written["slow"]["loss_tuned"]) > 0
    assert written["wrong"]["outcome"] == "train ended with 80"

    config.write_text(
        "\n".join(line for line in config.read_text().splitlines() if "wrong" not in line)
    )
    again = run_task("batch")
    assert again.returncode == 0, again.stderr
    assert run_task("report", "--batch", "configs/batch.yaml").returncode == 0
