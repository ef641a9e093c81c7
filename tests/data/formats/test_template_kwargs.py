"""Arguments of a row for its template."""

from __future__ import annotations

from tests.data.models import CHATML
from tests.data.project import Project
from tests.data.stages import render


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
            "messages": [
                {"role": "user", "content": "2 + 2?"},
                {"role": "assistant", "content": "a"},
            ],
            "id": "one",
            "chat_template_kwargs": {"quiet": True},
        },
    )
    assert "quiet: " in made["input"] + made["target"]
