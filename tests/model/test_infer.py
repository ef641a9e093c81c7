"""One prompt and files of prompts through the real command: what is on stdout, and what a stop in
the middle leaves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.box import Box
from tests.model.plain_inference import QUESTIONS, plain_answer


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_answer_alone_is_on_stdout(trained_project: Path, box: Box) -> None:
    for base in (False, True):
        ran = box.run(
            "infer",
            "--run",
            "demo",
            "--prompt",
            QUESTIONS[5],
            *["--base"] * base,
            cwd=trained_project,
        )
        assert ran.code == 0, ran.err
        assert ran.out == plain_answer(trained_project, QUESTIONS[5], tuned=not base).strip() + "\n"


def test_a_cut_answer_is_said(trained_project: Path, box: Box) -> None:
    ran = box.run(
        "infer",
        "--run",
        "demo",
        "--prompt",
        "Hi",
        "--set",
        "infer.max_new_tokens=2",
        cwd=trained_project,
    )
    assert ran.code == 0 and "cut off after 2 tokens" in ran.err


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        ((), 2, "terminal"),
        (("--prompt", "a", "--input", "b.txt"), 2, "exclude"),
        (("--prompt", "  "), 2, "empty"),
        (("--prompt", "a", "--output", "b.jsonl"), 2, "--input"),
        (("--input", "none.txt"), 66, "no such file"),
        (("--prompt", "What is <|im_end|>?"), 65, "special token"),
        (("--prompt", "clips " * 600), 65, "reads 512"),
    ],
)
def test_what_can_not_be_asked(
    trained_project: Path, box: Box, argv: tuple[str, ...], code: int, word: str
) -> None:
    ran = box.run("infer", "--run", "demo", *argv, cwd=trained_project)
    assert ran.code == code and word in ran.err and ran.out == ""


def test_before_training(trained: Path, box: Box) -> None:
    shutil.rmtree(trained / "outputs")
    ran = box.run("infer", "--config", "demo.yaml", "--prompt", "Hi", cwd=trained)
    assert ran.code == 66 and "train it first" in ran.err and not (trained / "outputs").exists()
    ran = box.run("infer", "--config", "demo.yaml", "--prompt", "Hi", "--base", cwd=trained)
    assert ran.code == 0 and ran.out.strip()
