"""Shared by the steps: the work folder, stages of sftplay as child processes, and rows that are on
disk as soon as they are found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.acceptance import CONFIG, AcceptanceRow
from sftplay.files import write_json
from sftplay.model.acceptance import children
from sftplay.untrusted import read_json

MODEL = "model"  # folder of the model, in the work folder


class Unusable(Exception):  # noqa: N818 - a reason, no error of sftplay
    """A reason why something was not looked at here."""


class NotAsExpected(Exception):  # noqa: N818
    """A finding that is not what was expected."""


@dataclass(frozen=True)
class Amounts:
    """Amounts of work on a device: optimizer steps, rows, words of an answer, lengths in tokens,
    answers, turns of a comparison.
    """

    steps: int
    rows: int
    words: int
    lengths: tuple[int, ...]
    length_steps: int
    prompts: int
    new_tokens: int
    turns: int


AMOUNTS = {
    "cpu": Amounts(12, 60, 12, (64, 128), 2, 6, 8, 1),
    "cuda": Amounts(50, 400, 120, (1024, 4096, 8192), 8, 64, 128, 2),
}


@dataclass(frozen=True)
class Ended:
    """A child process that has ended."""

    code: int
    text: str
    seconds: float

    def checked(self) -> Ended:
        """Return itself if it ended well.

        Raises:
            NotAsExpected: it did not; with its own reason.
        """
        if self.code:
            lines = [line for line in self.text.splitlines() if line.strip()]
            said = next((line for line in reversed(lines) if line.startswith("✗")), "")
            raise NotAsExpected(f"exit code {self.code}: {said or ' '.join(lines[-1:])}"[:300])
        return self


@dataclass
class Context:
    """Tools of a step: its device, child processes, its rows.

    Attributes:
        device: cuda or cpu.
        rows: what was found so far; `out` holds them too.
    """

    device: str
    out: Path
    rows: list[AcceptanceRow] = field(default_factory=list)

    @property
    def amounts(self) -> Amounts:
        return AMOUNTS[self.device]

    @contextmanager
    def row(self, name: str) -> Iterator[dict[str, Any]]:
        """Note one row: the block fills in its values; what it raises is the row's reason."""
        values: dict[str, Any] = {}
        try:
            yield values
        except Unusable as reason:
            self._note(AcceptanceRow(name, "skipped", str(reason), values))
        except Exception as error:  # noqa: BLE001 - the row says it, and the next one is looked at
            kind = "" if isinstance(error, NotAsExpected) else f"{type(error).__name__}: "
            said = " ".join(str(error).split())[:300]
            self._note(AcceptanceRow(name, "failed", f"{kind}{said}", values))
        else:
            said = str(values.pop("said", ""))
            self._note(AcceptanceRow(name, "passed", said, values))

    def _note(self, row: AcceptanceRow) -> None:
        self.rows.append(row)
        write_json(self.out, {"rows": [asdict(one) for one in self.rows]})

    def stage(self, *argv: str, settings: Mapping[str, Any] | None = None) -> Ended:
        """Run a stage of sftplay in a process of its own."""
        sets = [
            word
            for key, value in (settings or {}).items()
            for word in ("--set", f"{key}={_yaml(value)}")
        ]
        words = (argv[0], "--config", CONFIG, *argv[1:], *sets)
        return self.program("-m", "sftplay", *words)

    def program(self, *words: str) -> Ended:
        """Run this Python with arguments, to its end."""
        log, began = self.out.with_suffix(".log"), time.perf_counter()
        child = children.start(words, log, forked=self.device == "cpu", leader=False)
        code = children.wait(child)
        text = log.read_text(encoding="utf-8", errors="replace")
        console.result(text)  # the step's own log
        return Ended(code or 0, text, time.perf_counter() - began)

    def script(self, name: str, *words: str) -> Ended:
        """Run a program of this folder that shares no code with sftplay."""
        return self.program(str(Path(__file__).with_name(f"{name}.py")), *words)

    def train(self, run: str, *words: str, **settings: Any) -> dict[str, Any]:
        """Train a run (dots of the keys as `__`). Returns its run.json, with `wall_seconds`.

        Raises:
            NotAsExpected: it failed.
        """
        ended = self.stage(
            "train",
            "--run",
            run,
            *words,
            settings={key.replace("__", "."): value for key, value in settings.items()},
        ).checked()
        record: dict[str, Any] = read_json(Path("outputs") / run / "run.json")
        return {**record, "wall_seconds": ended.seconds}


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
