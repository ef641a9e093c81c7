"""Templates that leave out tools or calls."""

from __future__ import annotations

from tests.data.models import CHATML
from tests.data.project import Project
from tests.data.rendering.tool_rows import TALK, TOOLS, ready
from tests.data.stages import facts


def test_a_template_that_ignores_tools_is_warned_about(project: Project) -> None:
    talk = [TALK[0], {"from": "gpt", "value": "I can't know."}]
    ready(project, CHATML, {"conversations": talk, "tools": TOOLS})
    done = project.run("render")
    assert done.code == 0, done.said
    assert "1 × the chat template does not print the tools of a row" in done.said
    assert facts(project, "rendered")["notes"]["tools_ignored"] == 1


def test_a_template_that_leaves_out_calls_would_train_empty_answers(project: Project) -> None:
    ready(project, CHATML, {"conversations": TALK, "tools": TOOLS})
    done = project.run("render")
    assert done.code == 65
    assert "the chat template leaves out a tool call" in done.said
