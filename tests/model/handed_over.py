"""The command that continues, in the BnB stack, a run that Unsloth handed over."""

from __future__ import annotations

from pathlib import Path

from tests.box import Box, Ran


def continue_in_bnb(box: Box, project: Path, *words: str) -> Ran:
    """Continue after the attempt 01-unsloth; `words`: more of the command."""
    return box.run(
        "train", "--config", "demo.yaml", "--handed-over-from", "01-unsloth", *words, cwd=project
    )
