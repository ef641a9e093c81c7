"""Rows with tools and marks, from the raw file to what is trained, under templates that know tools
and some that do not.
"""

from __future__ import annotations

import pytest

from tests.data.models import CHATML, trl_templates
from tests.data.project import Project, jsonl
from tests.data.rendering.tool_rows import ALL_IN_TRAIN, TALK, TOOLS, ready
from tests.data.stages import put_rows, row, run, with_model


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1"])
def test_tools_and_calls_reach_the_template(project: Project, name: str) -> None:
    eot = () if name.startswith("qwen") else ("--set", "data.eot=<|eot_id|>")
    ready(project, trl_templates()[name], {"conversations": TALK, "tools": TOOLS})
    done = project.run("render", "--set", "data.turns=unroll", *eot)
    assert done.code == 0, done.said
    assert "does not print the tools" not in done.said
    called, answered = project.rows("rendered")
    assert "Now" in called["input"]
    assert '"weather"' in called["target"]
    assert '"Bern"' in called["target"]
    assert "4 degrees" in answered["input"]
    assert "Four degrees." in answered["target"]


def test_special_tokens_in_tools_are_found(project: Project) -> None:
    ready(
        project,
        trl_templates()["qwen2_5"],
        {"conversations": TALK, "tools": [{"name": "x", "a": "<|im_end|>"}]},
    )
    done = project.run("render")
    assert done.code == 65
    assert "spells the special token" in done.said


def test_rows_that_differ_in_their_tools_are_no_duplicates(project: Project) -> None:
    ready(
        project,
        CHATML,
        *({"messages": TALK, "tools": tools} for tools in (TOOLS, TOOLS, [], None, "")),
    )
    found = project.rows()
    assert [len(each.get("tools", [])) for each in found] == [1, 0]
    assert project.report()["rows"]["duplicates"] == 3
    assert project.report()["files"][0]["dropped_keys"] == {}


def test_unreadable_tools_are_set_aside(project: Project) -> None:
    good = [{"messages": [*TALK[:1], {"from": "gpt", "value": str(n)}]} for n in range(120)]
    ready(project, CHATML, *good, {"messages": TALK, "tools": "hammer"})
    (bad,) = project.rejects()
    assert bad["reason"] == "the tools that can't be read"


def test_a_column_of_another_name_by_the_config(project: Project) -> None:
    (project.folder / "config.yaml").write_text("data: {fields: {messages: talk, tools: kit}}\n")
    project.put("talk.jsonl", jsonl([{"talk": TALK, "kit": TOOLS}]))
    run(project, "process", *ALL_IN_TRAIN)
    assert project.rows()[0]["tools"] == [{"type": "function", "function": TOOLS[0]}]


MARKED = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "wrong", "train": False},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "right"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "right again", "weight": 1},
    {"role": "user", "content": "four"},
    {"role": "assistant", "content": "wrong again", "weight": 0},
]


def targets(project: Project, turns: str) -> list[list[str]]:
    run(project, "render", f"data.turns={turns}")
    rows = project.rows("rendered")
    return [[pair["target"] for pair in each.get("turns", [each])] for each in rows]


def test_an_answer_marked_as_not_to_be_trained_is_input(project: Project) -> None:
    ready(project, CHATML, {"messages": MARKED})
    right, again = "right<|im_end|>", "right again<|im_end|>"
    assert targets(project, "last") == [[again]]
    assert targets(project, "unroll") == [[right], [again]]
    assert targets(project, "all") == [[right, again]]
    (only,) = project.rows("rendered")
    assert "wrong<|im_end|>" in only["turns"][0]["input"]
    assert "wrong again" in only["tail"]


def test_the_template_never_sees_the_mark(project: Project) -> None:
    template = "{% for message in messages %}{{ message | tojson }}<|im_end|>{% endfor %}"
    prompt = '{% if add_generation_prompt %}{"role": "assistant", "content": "{% endif %}'
    with_model(project, template + prompt)
    marked = row("q", "a", "q", "b")
    marked["messages"][1]["train"] = False
    put_rows(project, [marked])
    run(project, "render")
    (only,) = project.rows("rendered")
    assert "train" not in only["input"] + only["target"]
