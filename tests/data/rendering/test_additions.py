"""Texts that a template adds: reported and stamped."""

from __future__ import annotations

import pytest

from tests.data.models import CHATML
from tests.data.project import Project
from tests.data.stages import put_rows, row, run, with_model


def test_a_default_system_prompt_is_said_and_stamped(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    with_model(
        project,
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Smol.<|im_end|>\n{% endif %}"
        + CHATML,
    )
    put_rows(project, [row("a", "b"), row("c", "d", system="Mine.")])
    stamp = run(project, "render")
    assert stamp.facts["template_adds"]["default_system"] == "You are Smol."
    assert stamp.facts["rows_without_system"] == 1
    assert (
        "1 × rows have no system prompt, and the chat template adds its own: 'You are Smol.'"
        in capfd.readouterr().err
    )
