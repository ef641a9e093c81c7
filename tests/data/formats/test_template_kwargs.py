"""Arguments of a row for its template."""

from __future__ import annotations

from typing import Any

from tests.data.models import CHATML
from tests.data.project import Project
from tests.data.stages import put_rows, with_model

THOUGHT = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two."}


TALK = [{"role": "user", "content": "2 + 2?"}, THOUGHT]


def render(project: Project, template: str, *rows: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    with_model(project, template)
    put_rows(project, rows)
    done = project.run("render")
    assert done.code == 0, done.said
    return done.said, project.rows("rendered")[0]


def test_arguments_for_the_template_reach_it(project: Project) -> None:
    template = CHATML.replace(
        "assistant\n' }}", "assistant\n' }}{% if quiet %}{{ 'quiet: ' }}{% endif %}", 1
    )
    template = template.replace(
        "message['content'] +",
        "('quiet: ' if quiet and message['role'] == 'assistant' else '') + message['content'] +",
    )
    _, made = render(
        project,
        template,
        {
            "messages": [TALK[0], {"role": "assistant", "content": "a"}],
            "id": "one",
            "chat_template_kwargs": {"quiet": True},
        },
    )
    assert "quiet: " in made["input"] + made["target"]
