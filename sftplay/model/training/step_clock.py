"""Time of the training steps alone: without evaluations, sample answers and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepClock:
    """A clock that stands still while something else than training happens.

    Its zero has no meaning: only differences do.
    """

    def __init__(self) -> None:
        self._paused = 0.0

    def now(self) -> float:
        """Return the seconds that it has run."""
        return time.monotonic() - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for what happens inside. Pauses do not nest."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - began
