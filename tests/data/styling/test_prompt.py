"""Style prompts in a system turn."""

from __future__ import annotations

import pytest

from sftplay.data.styling.prompt import StylePrompt


@pytest.mark.parametrize(
    ("mode", "system"),
    [
        ("prepend", "Rhyme.\n\nYou are a clerk."),
        ("append", "You are a clerk.\n\nRhyme."),
        ("replace", "Rhyme."),
    ],
)
def test_modes(mode: str, system: str) -> None:
    assert StylePrompt("Rhyme.", mode).system("You are a clerk.") == system
    assert StylePrompt("Rhyme.", mode).system("") == "Rhyme."
