"""Batches: what an experiment costs beyond its own stages with each engine, and 1,000 experiments at
once. `inv bench batch`.

The overhead is the time from the end of an experiment's last stage to the begin of the next one's
first stage, one at a time on one node: command line, decision, queue, records. Stages are real
trainings of a tiny model. The 1,000 experiments are copies of one finished run: their stages are
simulated.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench._measure import ROOT, Cost, measure
from bench._versus import parser_of, show, write
from tests.host.batch import test_ray, test_slurm
from tests.host.cluster.slurm_cluster import missing as no_slurm
from tests.host.conftest import NO_ENGINE, make_environment
from tests.host.ray.ray_cluster import missing as no_ray
from tests.tiny import make_tiny_model

LIMITS = {"local": 1.0, "slurm": 5.0, "ray": 3.0}  # seconds, as the project has set itself
TASK = [sys.executable, "-m", "sftplay.host.cli"]
SETTINGS = {"train.max_steps": 2, "train.save_steps": 2}
MANY = 1000


def main(argv: list[str]) -> int:
    parser = parser_of("batch", rounds=1)
    parser.add_argument("--experiments", type=int, default=5)
    options = parser.parse_args(argv)
    tables = []
    with tempfile.TemporaryDirectory(prefix="sb-") as folder:
        model = make_tiny_model(Path(folder) / "model")
        rows = [
            _overhead(engine, Path(folder) / engine, model, options.experiments)
            for engine in LIMITS
            if not options.only or engine in options.only
        ]
        tables.append(
            show(
                "Overhead of an experiment beyond its own stages",
                ("engine", "median", "largest", "limit", "CPU of driver and jobs, each"),
                rows,
                [
                    f"{options.experiments} experiments one at a time on one node; CPU of local: everything but the stages"
                ],
            )
        )
        if not options.only or "many" in options.only:
            tables.append(_many(Path(folder) / "many", model))
    if options.write:
        write("batch", tables)
    return 0


def _overhead(engine: str, folder: Path, model: Path, count: int) -> tuple[str, ...]:
    reason = {"slurm": no_slurm, "ray": no_ray}.get(engine, lambda: "")()
    if reason:
        return (engine, f"not measured: {reason}", "", "", "")
    project = _project(folder, model, list(range(1, count + 1)))
    before = _children()
    with _started(engine, folder, project) as driver:
        code = driver.wait()
    spent = _children() - before
    if code:
        raise RuntimeError((project / "screen").read_text()[-3000:])
    stages = sorted(_stages(project), key=lambda one: one["begin"])
    trained = [one for one in stages if "train" in one["argv"]]
    gaps = [later["begin"] - earlier["end"] for earlier, later in itertools.pairwise(trained)]
    cpu = (spent - sum(one["cpu"] for one in stages)) / count if engine == "local" else None
    return (
        engine,
        f"{statistics.median(gaps):.2f} s",
        f"{max(gaps):.2f} s",
        f"{LIMITS[engine]:.0f} s",
        "" if cpu is None else f"{cpu:.2f} s",
    )


def _children() -> float:
    found = os.times()
    return found.children_user + found.children_system


def _project(folder: Path, model: Path, seeds: list[int]) -> Path:
    """A copy of the checkout whose stages note when they begin and end."""
    project = folder / "checkout"
    project.mkdir(parents=True)
    for name in ("sftplay", "configs", "images", "tasks.py", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, project / name)
    noted = project / "noted.py"
    noted.write_text(
        "import json, os, subprocess, sys, time\n"
        "begin, before = time.time(), os.times()\n"
        f"code = subprocess.call([{sys.executable!r}, *sys.argv[1:]])\n"
        "after = os.times()\n"
        "cpu = after.children_user + after.children_system - before.children_user - before.children_system\n"
        f"with open({str(project / 'stages.jsonl')!r}, 'a') as file:\n"
        "    print(json.dumps({'argv': sys.argv[1:], 'begin': begin, 'end': time.time(), 'cpu': cpu}), file=file)\n"
        "sys.exit(code)\n"
    )
    make_environment(project / ".envs", f'exec "{sys.executable}" -S "{noted}" "$@"')
    test_slurm.write_batch(project, str(model), seeds, **SETTINGS)
    return project


def _stages(project: Path) -> Iterator[Mapping[str, object]]:
    for line in (project / "stages.jsonl").open():
        yield json.loads(line)


@contextmanager
def _started(engine: str, folder: Path, project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The batch's driver, with a cluster of one free node where the engine is one."""
    if engine == "slurm":
        with test_slurm.started_cluster(folder, project) as slurm:
            yield test_slurm.start(slurm, project, submit="--nodelist=n1 --cpus-per-task=2")
    elif engine == "ray":
        with test_ray.started_cluster(project, nodes=["n1"]) as ray:
            yield test_ray.start(ray)
    else:
        with open(project / "screen", "wb") as screen:
            yield subprocess.Popen(
                [*TASK, "batch", "--runner", "local"],
                cwd=project, env={**os.environ, **_environ(project)}, stdin=subprocess.DEVNULL,
                stdout=screen, stderr=screen,
            )  # fmt: skip


def _environ(project: Path) -> dict[str, str]:
    return {
        **{"SFTPLAY_ENVS": str(project / ".envs"), "DOCKER_HOST": NO_ENGINE},
        **{"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    }


def _many(folder: Path, model: Path) -> str:
    """Plan, status and table of 1,000 experiments that are finished."""
    project = _project(folder, model, [1])
    _task(project, "batch", "--runner", "local")
    first = project / "outputs" / "n-seed1"
    rows = json.loads((project / "configs/batch.yaml").read_text())
    # a matrix of one value does not stand in the names; of a thousand it does
    rows["experiments"][0]["matrix"]["train.seed"] = list(range(1, MANY + 1))
    (project / "configs/batch.yaml").write_text(json.dumps(rows))
    for seed in range(2, MANY + 1):
        run = project / "outputs" / f"n-seed{seed}"
        shutil.copytree(first, run)
        config = (run / "config.yaml").read_text()
        changed = config.replace("n-seed1\n", f"n-seed{seed}\n").replace(
            "seed: 1\n", f"seed: {seed}\n"
        )
        assert changed != config
        (run / "config.yaml").write_text(changed)
    costs = {
        "plan": _task(project, "batch", "--dry-run"),
        "status": _task(project, "status"),
        "table (inv runs)": _task(project, "runs"),
        "batch again: plan, table, summary": _task(project, "batch", "--yes", "--runner", "local"),
    }
    assert costs["plan"].said.count("skip (finished)") == MANY, costs["plan"].said[-2000:]
    assert f"{MANY} of {MANY} experiments are done" in costs["batch again: plan, table, summary"].said.replace(",", "")  # fmt: skip
    return show(
        f"{MANY:,} experiments in one batch",
        ("what", "wall", "CPU", "peak memory"),
        [
            (name, f"{cost.seconds:.2f} s", f"{cost.cpu:.2f} s", f"{cost.tree_mb:.0f} MB")
            for name, cost in costs.items()
        ],
        ["limits: 3 s each, 300 MB; the runs are copies of one: their stages are simulated"],
    )


def _task(project: Path, *words: str) -> Cost:
    return measure([*TASK, *words], project, **_environ(project)).checked()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
