"""Workers: one after the other, or one for each GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.host.batch.workers import ParallelWorkers, SequentialWorkers, make_workers
from sftplay.stages import BY_NAME


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
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
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
