"""A project folder of its own, in which tests run stages as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

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

    def run(self, stage: str, *args: str, **options: Any) -> Done:
        done = subprocess.run(
            self.argv(stage, *args),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            check=False,
            timeout=120,
            **options,
        )
        return Done(done.returncode, done.stderr.decode())

    def rows(self, kind: str = "processed") -> list[dict[str, Any]]:
        return [row for split in SPLITS for row in read_lines(self.folder / "data" / kind / f"{split}.jsonl")]

    def rejects(self) -> list[dict[str, Any]]:
        return read_lines(self.folder / "data/processed/rejects.jsonl")

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "data/processed/report.json").read_bytes())
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
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows).encode()


def questions(count: int, first: int = 0) -> list[dict[str, str]]:
    """Rows in the question and answer format, all different."""
    return [
        {"question": f"What is {n} plus {n}?", "answer": f"{n} + {n} = {2 * n}"} for n in range(first, first + count)
    ]
