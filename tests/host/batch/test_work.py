"""Work of a batch: what fails, costs only what depends on it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.host.conftest import RunTask


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
