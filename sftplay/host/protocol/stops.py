"""Requests to stop an experiment on another node: a file that its guard looks for."""

from __future__ import annotations

from pathlib import Path

from sftplay.places import OUTPUTS

STOPS = "stops"


def ask_to_stop(batch: str, run: str) -> None:
    """Ask the guard of a run for its end, with a checkpoint.

    Args:
        batch: name of the batch's folder.
    """
    path = Path(OUTPUTS) / batch / "ray" / STOPS / run
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
