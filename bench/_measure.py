"""Shared parts of the benchmarks: a command's wall time and peak memory, rows to run on, and a
table.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds of wall time, peak resident memory in MB (of its largest process),
    exit code, what it said, CPU seconds.

    `tree_mb`: the most that it and its child processes held at one moment of those looked at (ten a
    second), what they share of files counted once.
    """

    seconds: float
    peak_mb: float
    code: int
    said: str
    cpu: float = 0.0
    tree_mb: float = 0.0

    def checked(self) -> Cost:
        """Itself, where the command ended well.

        Raises:
            RuntimeError: it did not; with the end of what it said.
        """
        if self.code:
            raise RuntimeError(self.said[-3000:])
        return self


def measure(argv: list[str], cwd: Path, **env: str) -> Cost:
    """Run a command and measure it as a whole process; Python may keep the bytecode that it
    compiles.
    """
    inherited = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    held: list[float] = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, held), daemon=True)
    watcher.start()
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.join()
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, usage.ru_maxrss / 1024, process.returncode, said, cpu, max(held))


def _watch(pid: int, held: list[float]) -> None:
    while (now := _tree_mb(pid)) is not None:
        held.append(max(now, held.pop()))
        time.sleep(0.1)


def _tree_mb(pid: int) -> float | None:
    """Measure the memory of a process and its children now; pages that a fork still shares count
    for each.

    None: it has ended.
    """
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    own, shared, waiting, found = 0, 0, [pid], False
    while waiting:
        each = waiting.pop()
        try:
            _, resident, of_files, *_ = map(int, Path(f"/proc/{each}/statm").read_text().split())
            waiting += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except (OSError, ValueError):
            continue
        found = found or resident > 0
        own, shared = own + resident - of_files, max(shared, of_files)
    return (own + shared) * page if found else None


def best_of(number: int, argv: list[str], cwd: Path, **env: str) -> Cost:
    """The fastest of several runs: what the command costs when nothing else is in its way."""
    return min((measure(argv, cwd, **env) for _ in range(number)), key=lambda cost: cost.seconds)


def stage(*words: str) -> list[str]:
    """argv of a stage in this environment."""
    return [sys.executable, "-m", "sftplay", *words]


@contextmanager
def project_with(argv: list[str], count: int, *, repeat: str | None = None) -> Iterator[Path]:
    """A temporary project with the model fetched, and in data/raw the file that argv names, else
    `count` rows: those of the file `repeat`, as often as need be and all different, or made ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "data" / "raw").mkdir(parents=True)
        shutil.copytree(ROOT / "configs", project / "configs")
        if argv:
            shutil.copy(argv[0], project / "data" / "raw")
        elif repeat:
            repeat_rows(Path(repeat), project / "data" / "raw" / "rows.jsonl", count)
        else:
            write_rows(project / "data" / "raw" / "rows.jsonl", count)
        measure(stage("fetch"), project)
        yield project


def read_rows(path: Path) -> list[Any]:
    """The values of a jsonl file.

    Not by splitlines(): that cuts strings too, at U+2028 and others.
    """
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def repeat_rows(source: Path, path: Path, count: int) -> None:
    """Question/answer rows of a file again and again; each copy says which one it is, so that no
    two are equal.
    """
    rows = read_rows(source)
    with open(path, "w", encoding="utf-8") as out:
        for number in range(count):
            row, copy = rows[number % len(rows)], number // len(rows)
            asked = f"{row['question']} (Case {copy}.)" if copy else row["question"]
            out.write(json.dumps({"question": asked, "answer": row["answer"]}) + "\n")


def write_rows(path: Path, count: int) -> None:
    """Question/answer rows of about GSM8K's length (some 240 and 290 characters), the same ones
    every time.
    """
    words = random.Random(0)
    names, things = (
        ("Ada", "Bela", "Chen", "Dina", "Emil"),
        ("apples", "tickets", "pages", "coins", "bricks"),
    )
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(count):
            name, thing, a, b, days = (
                words.choice(names),
                words.choice(things),
                words.randint(2, 90),
                words.randint(2, 9),
                words.randint(2, 9),
            )
            question = (
                f"{name} collects {a} {thing} on the first day of the week, and on each of the following {days} days {name} collects {b} "
                f"{thing} more than on the day before. A friend takes half of what is there at the end. How many {thing} does {name} keep?"
            )
            total = sum(a + b * day for day in range(days + 1))
            steps = "\n".join(
                f"On day {day + 1} {name} collects {a} + {b} * {day} = {a + b * day} {thing}."
                for day in range(days + 1)
            )
            out.write(
                json.dumps(
                    {
                        "question": question,
                        "answer": f"{steps}\nTogether that is {total}, and half of it is {total / 2}.\n#### {total / 2}",
                    }
                )
                + "\n"
            )
