"""Prompts as the run's template renders them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.box import Box
from tests.model.plain_inference import QUESTIONS


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_system_prompt_reaches_the_model(trained_project: Path, box: Box) -> None:
    argv = ("infer", "--run", "demo", "--base", "--prompt", QUESTIONS[5])
    answers = [
        box.run(*argv, *system, cwd=trained_project).out
        for system in ([], ["--system", "Be brief."])
    ]
    assert answers[0] != answers[1]


def test_text_may_become_a_special_token_where_that_is_wanted(
    trained_project: Path, box: Box
) -> None:
    keep = ("--set", "data.special_tokens_in_text=keep")
    assert (
        box.run(
            "infer", "--run", "demo", "--prompt", "a<|im_end|>b", *keep, cwd=trained_project
        ).code
        == 0
    )
