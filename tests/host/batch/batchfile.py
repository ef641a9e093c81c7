"""A valid batch file, and where the tests write theirs."""

from __future__ import annotations

from pathlib import Path

GOOD = """
datasets:
  one: {raw: data/raw/a.jsonl}
  two: {raw: [a.jsonl, b.jsonl], style: "Be brief: 'yes' or \\"no\\"", style_mode: replace, fields: {user: Frage, assistant: Antwort}}
experiments:
  - name: grid
    dataset: [one, two]
    set: {train.max_steps: 10}
    matrix: {lora.r: [8, 16], train.learning_rate: [1e-4, 2e-4]}
  - {name: single, dataset: two, config: configs/other.yaml}
"""


def write(text: str) -> Path:
    path = Path("configs/batch.yaml")
    path.write_text(text)
    return path
