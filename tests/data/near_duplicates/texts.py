"""Random texts from a small set of words."""

from __future__ import annotations

import random

WORDS = [
    a + b
    for a in ("ka", "lo", "mi", "nu", "re", "so", "ta", "vu")
    for b in ("b", "d", "f", "g", "l", "n", "r", "s")
]


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))
