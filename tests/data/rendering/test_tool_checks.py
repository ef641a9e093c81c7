"""Templates that leave out tools or calls."""

from __future__ import annotations

from typing import Any

from tests.data.models import CHATML, CHATML_NAMED
from tests.data.project import Project, jsonl
from tests.data.stages import facts, with_model

ALL_IN_TRAIN = ("data.val_share=0", "data.test_share=0")


TOOLS = [
    {
        "name": "weather",
        "description": "Now",
        "parameters": {"type": "object", "properties": {"city": {}}},
    }
]


TALK: list[dict[str, Any]] = [
    {"from": "human", "value": "How cold is Bern?"},
    {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Bern"}}'},
    {"from": "observation", "value": "4 degrees"},
    {"from": "gpt", "value": "Four degrees."},
]


def ready(project: Project, template: str, *rows: Any) -> Project:
    with_model(
        project, template, CHATML_NAMED, ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    )
    project.put("talk.jsonl", jsonl(rows))
    done = project.run("process", *(word for value in ALL_IN_TRAIN for word in ("--set", value)))
    assert done.code == 0, done.said
    return project


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
