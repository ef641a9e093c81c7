"""A project folder of its own, in which tests run stages as a person would."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sftplay.cli import main

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    said: str


@dataclass(frozen=True)
class Project:
    """A folder with a config and data/raw."""

    folder: Path

    def put(self, name: str, content: bytes | str) -> Path:
        path = self.folder / "data/raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def argv(self, stage: str, *args: str) -> list[str]:
        return [sys.executable, "-m", "sftplay", stage, "--config", "config.yaml", *args]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def run(self, stage: str, *args: str, first: Callable[[], object] = lambda: None) -> Done:
        """Run a stage to its end in a fork of this process: the real command, without its imports
        (a second each).

        `first` is called in the new process before the stage.
        """
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if not pid:
                os._exit(self._forked(said.fileno(), first, self.argv(stage, *args)[3:]))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said.seek(0)
            return Done(code, said.read().decode())

    def _forked(self, output: int, first: Callable[[], object], argv: list[str]) -> int:
        try:
            os.setsid()
            os.chdir(self.folder)
            for number in (1, 2):
                os.dup2(output, number)
            sys.stdout, sys.stderr = (
                os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2)
            )
            first()
            return main(argv)
        except BaseException:  # noqa: BLE001 - the fork must never continue as a second test run
            traceback.print_exc()
            return 99
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def rows(self, kind: str = "processed") -> list[dict[str, Any]]:
        return [row for split in SPLITS for row in self.rows_of(split, kind)]

    def rows_of(self, split: str, kind: str = "processed") -> list[dict[str, Any]]:
        return read_lines(self.folder / "data" / kind / f"{split}.jsonl")

    def rejects(self) -> list[dict[str, Any]]:
        return read_lines(self.folder / "data/processed/rejects.jsonl")

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            (self.folder / "data/processed/report.json").read_bytes()
        )
        return found

    def outputs(self, kind: str = "processed") -> dict[str, bytes]:
        """Every visible file of an output folder but the stamp (it holds times)."""
        folder = self.folder / "data" / kind
        return {
            path.name: path.read_bytes()
            for path in sorted(folder.iterdir())
            if path.name not in (".lock", "stamp.json")
        }


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n") if line]


def jsonl(rows: Iterable[Any]) -> bytes:
    return "".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows
    ).encode()


def questions(count: int, first: int = 0) -> list[dict[str, str]]:
    """Rows in the question and answer format, all different."""
    return [
        {"question": f"What is {n} plus {n}?", "answer": f"{n} + {n} = {2 * n}"}
        for n in range(first, first + count)
    ]
