"""Memory over time of a training with everything attached: `inv bench memory --args="--minutes 30"`.

A tiny model trains in the local runner while its launcher, `inv logs -f` and TensorBoard run, and
`inv status` is asked again and again. The resident memory of each process is read every second; a
line through its values after the warm-up is the slope. Above 1 MB a minute the bench fails.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench._measure import ROOT, write_rows
from bench._versus import show
from sftplay.host.local import environments
from tests.tiny import make_tiny_model

LIMIT = 1.0  # MB a minute
WARM_UP = 0.4  # share of the time in which caches fill, and which is left out
PORT = 16206
Samples = dict[str, list[tuple[float, float]]]  # process → (minutes, MB)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="inv bench memory")
    parser.add_argument("--minutes", type=float, default=30)
    args = parser.parse_args(argv)
    samples = attached_training(args.minutes)
    slopes = {name: slope(values) for name, values in samples.items()}
    rows = [
        (
            name,
            str(len(values)),
            f"{values[0][1]:.0f}",
            f"{values[-1][1]:.0f}",
            f"{slopes[name]:+.2f}",
        )
        for name, values in samples.items()
    ]
    columns = ("process", "samples", "first MB", "last MB", "MB a minute")
    show(f"Memory over {args.minutes:g} minutes", columns, rows)
    return 0 if max(slopes.values()) < LIMIT else 1


def slope(values: Sequence[tuple[float, float]]) -> float:
    """MB a minute of the line through the values after the warm-up."""
    kept = values[int(len(values) * WARM_UP) :]
    minutes, megabytes = zip(*kept, strict=True)
    return float(statistics.linear_regression(minutes, megabytes).slope)


@dataclass(frozen=True)
class Bench:
    """A project, and tasks in it whose output goes into a file."""

    project: Path
    env: dict[str, str]
    screen: Path

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with open(self.screen, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "sftplay.host.cli", *words],
                cwd=self.project,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def run(self, *words: str) -> None:
        code = self.start(*words).wait()
        if code:
            raise RuntimeError(f"{words[0]} ended with {code}: {self.screen.read_text()[-2000:]}")


def attached_training(minutes: float) -> Samples:
    """Train for that long; return the memory of each process that lives all the time."""
    with tempfile.TemporaryDirectory() as name:
        bench = _prepare(Path(name))
        model = make_tiny_model(Path(name) / "tiny")
        sets = [f"model.name={model}", "train.max_steps=1000000", "train.save_steps=500"]
        sets += ["train.device=cpu", "train.eval_steps=500", "train.logging_steps=10"]
        words = [word for value in sets for word in ("--set", value)]
        attached = [bench.start("train", "--run", "long", "--runner", "local", *words)]
        try:
            progress = bench.project / "outputs/long/attempts/01-bnb/progress.json"
            while not progress.exists():
                _require_life(attached, bench)
                time.sleep(0.5)
            attached.append(bench.start("logs", "long", "-f"))
            bench.run("tensorboard", "--runner", "local", "--port", str(PORT))
            return _watch(minutes, attached, bench)
        finally:
            bench.start("stop", "--all").wait()
            for child in attached:
                child.wait(120)


def _prepare(folder: Path) -> Bench:
    env = {key: value for key, value in os.environ.items() if key != "SFTPLAY_PROJECT"}
    env |= {
        "PYTHONPATH": str(ROOT),
        "SFTPLAY_ENVS": str(environments.ensure("cpu").folder.parent),
        "DOCKER_HOST": "unix:///nowhere/docker.sock",
        "NO_COLOR": "1",
    }
    bench = Bench(folder, env, folder / "screen")
    bench.run("init", "project")
    write_rows(folder / "project/data/raw/rows.jsonl", 400)
    return Bench(folder / "project", env, folder / "screen")


def _watch(minutes: float, attached: list[subprocess.Popen[bytes]], bench: Bench) -> Samples:
    found: Samples = defaultdict(list)
    began, asked = time.monotonic(), 0.0
    while (now := time.monotonic() - began) < minutes * 60:
        for process in psutil.process_iter(["cmdline", "cwd", "memory_info"]):
            name = _name(process.info, bench.project)
            if name:
                found[name].append((now / 60, process.info["memory_info"].rss / 1e6))
        if now - asked > 10:
            asked = now
            bench.run("status")
        _require_life(attached, bench)
        time.sleep(1)
    return {name: values for name, values in found.items() if len(values) > 2}


def _name(facts: dict[str, Any], project: Path) -> str:
    """Return what a process of the project is called in the table; empty for any other."""
    words = " ".join(facts["cmdline"] or ())
    if facts["cwd"] != str(project) or " status" in words:
        return ""
    names = {"supervisor": "supervisor", "tensorboard.main": "TensorBoard", " logs": "logs -f"}
    found = next((name for mark, name in names.items() if mark in words), "")
    return found or ("launcher" if "host.cli" in words else "training" if "train" in words else "")


def _require_life(children: list[subprocess.Popen[bytes]], bench: Bench) -> None:
    if any(child.poll() is not None for child in children):
        raise RuntimeError(f"it ended before its time: {bench.screen.read_text()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
