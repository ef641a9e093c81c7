"""Waiting time before anything happens: `inv bench start [--write]`."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bench._measure import ROOT, best_of, stage
from bench._project import AS_THE_RUNNER, COMMON, Work, sets, work
from bench._versus import show, write

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "pandas",
    "numpy",
    "pyarrow",
    "tensorboard",
    "pydantic",
    "sklearn",
    "scipy",
)


CUT = (
    "What was done to cut them: nothing heavy before the first line; the data stages, the menu and the launcher never import torch (a contract of "
    "import-linter); a stage imports its part of the package when its turn comes; bitsandbytes without torch's compiler where there is no CUDA, "
    "an eighth of the sum; the garbage collector looks rarely until the model stands; bytecode in the images. pandas comes with datasets, the rest with torch and transformers"
)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="inv bench start")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    invoke = Path(sys.executable).parent / "invoke"
    listing = best_of(5, [str(invoke), "--list"], ROOT)
    helped = best_of(5, stage("process", "--help"), ROOT)
    version = best_of(3, ["python3", "tasks.py", "--version"], ROOT)
    rows = [
        ("inv --list", f"{listing.seconds:.2f} s", "0.4 s"),
        ("python -m sftplay process --help", f"{helped.seconds:.2f} s", ""),
        ("python3 tasks.py --version, set-up done", f"{version.seconds:.2f} s", "0.3 s"),
    ]
    with work(None, 1) as task:
        first = min(_first_line(task, number) for number in range(3))
        total, load, imports, table = _training_start(task)
    rows += [
        ("first line of `train`", f"{first:.2f} s", "0.5 s"),
        ("`train` to the start of its loop", f"{total:.1f} s", ""),
        ("… of it imports (below; measured with -X importtime)", f"{imports:.1f} s", ""),
        ("… of it loading the model", f"{load:.1f} s", ""),
        ("… all the rest", f"{total - load - imports:.1f} s", "4 s"),
    ]
    tables = [
        show("Start", ("what", "takes", "at most"), rows),
        show(
            "Imports of `train`, seconds of each package's own modules",
            ("package", "modules", "seconds"),
            table,
            [CUT],
        ),
    ]
    if options.write:
        write("start", tables)
    return max(listing.code, helped.code)


def _argv(task: Work, number: int) -> list[str]:
    settings = sets(
        *COMMON, "data.val_share=0", "data.test_share=0", "train.max_steps=1", "train.method=lora"
    )
    return ["train", "--run", f"start-{number}", *settings]


def _environ() -> dict[str, str]:
    return {**os.environ, **AS_THE_RUNNER, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def _first_line(task: Work, number: int) -> float:
    """Seconds to the first line on the screen; then the stage is stopped."""
    began = time.perf_counter()
    process = subprocess.Popen(
        stage(*_argv(task, number)),
        cwd=task.project,
        env=_environ(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    process.stderr.readline()
    took = time.perf_counter() - began
    process.terminate()
    process.communicate()
    return took


def _training_start(task: Work) -> tuple[float, float, float, list[tuple[str, str, str]]]:
    """Seconds to the loop, of model loading, of imports before the loop; and the imports by
    package.
    """
    argv = [sys.executable, "-X", "importtime", "-m", "bench._traced", *_argv(task, 9)]
    environ = {**_environ(), "SFTPLAY_BENCH_BEGAN": str(time.time())}
    ran = subprocess.run(
        argv, cwd=task.project, env=environ, capture_output=True, text=True, check=True
    )
    found = re.search(r"^MOMENTS (.*)$", ran.stdout, re.M)
    assert found, ran.stderr[-2000:]
    moments = json.loads(found[1])
    own: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for micros, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", ran.stderr, re.M):
        top = name.split(".")[0]
        top = top if top in PACKAGES else "sftplay" if top == "sftplay" else "everything else"
        own[top] = (own[top][0] + 1, own[top][1] + int(micros))
    ordered = sorted(own.items(), key=lambda entry: -entry[1][1])
    table = [(name, f"{count:,}", f"{micros / 1e6:.2f}") for name, (count, micros) in ordered]
    return moments["loop"], moments["load"], sum(micros for _, micros in own.values()) / 1e6, table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
