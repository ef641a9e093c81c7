"""Findings of the doctor: one for each thing, with the command that fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class MachineFinding:
    """One line of the report.

    Attributes:
        level: ok; note (good to know); warning (works, not everything or not for long); error (the
            runs that were asked
            about can't work).
        topic: what was looked at: engine, gpu, disk …
        todo: what to type or change; every warning and error has one.
    """

    level: Level
    topic: str
    said: str
    todo: str = ""
