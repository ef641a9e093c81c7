"""A conversation with tools, and a project with such rows."""

from __future__ import annotations

from typing import Any

from tests.data.models import CHATML_NAMED
from tests.data.project import Project, jsonl
from tests.data.stages import with_model

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
    """Give a project a model with this template, and process the rows into its train split."""
    with_model(
        project, template, CHATML_NAMED, ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    )
    project.put("talk.jsonl", jsonl(rows))
    done = project.run("process", *(word for value in ALL_IN_TRAIN for word in ("--set", value)))
    assert done.code == 0, done.said
    return project
