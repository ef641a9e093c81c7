"""Keys that nobody reads: counted, and a warning or a refusal where they would change what other
toolkits train.
"""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.formats.unused_keys import example, read_row_keys, unused_key
from sftplay.data.rejects import BadRowError
from tests.data.project import Project, jsonl


def notes_of(row: dict[str, Any]) -> dict[str, Any]:
    notes = RowNotes()
    read_row_keys(row, frozenset({"user", "assistant"}), notes)
    return notes.unused


def test_keys_with_a_value_are_noted() -> None:
    row = {"user": "q", "id": 7, "tags": [], "more": None, "url": "", "meta": {"a": 1}}
    assert notes_of(row) == {"id": 7, "meta": {"a": 1}}


@pytest.mark.parametrize(
    "row",
    [
        {"label": True},
        {"Label": "true"},
        {"weight": 1},
        {"train": True},
        {"images": []},
        {"loss": True},
    ],
)
def test_keys_that_change_nothing(row: dict[str, Any]) -> None:
    assert notes_of(row) == {}


@pytest.mark.parametrize(
    "row",
    [
        {"label": False},
        {"label": "False"},
        {"weight": 0.5},
        {"loss_weight": 0},
        {"train": False},
        {"images": ["a.png"]},
        {"Audio": {"bytes": "x"}},
        {"video": "a.mp4"},
    ],
)
def test_rows_that_must_not_be_trained(row: dict[str, Any]) -> None:
    with pytest.raises(BadRowError):
        notes_of(row)


@pytest.mark.parametrize(
    "name",
    ["loss_mask", "label", "messages[].reasoning_details", "messages[].channel", "rejected_response", "history", "context", "tool_use",
     "input_ids", "completion_mask", "messages[].tool_calls[].thought_signature", "chosen"],
)  # fmt: skip
def test_names_that_are_graver(name: str) -> None:
    assert unused_key(name).severity == "warning"


@pytest.mark.parametrize(
    "name",
    ["id", "source", "messages[].name", "finish_reason", "category", "difficulty", "prompt_id"],
)
def test_names_that_are_worth_a_note(name: str) -> None:
    assert unused_key(name).severity == "note"


def test_an_example_is_short() -> None:
    assert example("x" * 50) == repr("x" * 39 + "…")
    assert example({"a": [1, None]}) == '{"a":[1,null]}'


def process(project: Project, *rows: Any, strict: bool = False) -> Any:
    project.put("rows.jsonl", jsonl(rows))
    sets = ["--set", "data.val_share=0", "--set", "data.test_share=0"]
    return project.run("process", *sets, *(["--strict"] if strict else []))


def test_what_is_said_of_them(project: Project) -> None:
    rows = [
        {"user": f"q {n}", "assistant": f"a {n}", "id": n, "loss_mask": [0, 1]} for n in range(3)
    ]
    done = process(project, *rows)
    assert done.code == 0, done.said
    assert (
        "3 × `loss_mask` is not used: by its name it may change what is trained: data/raw/rows.jsonl:1 ([0,1])"
        in done.said
    )
    assert "not used: `id` (counts" in done.said
    found = {finding["what"]: finding for finding in project.report()["findings"]}
    assert found["`id` is not used"]["count"] == 3
    assert found["`id` is not used"]["rows"][0] == "data/raw/rows.jsonl:1 (0)"
    assert process(project, *rows, strict=True).code == 65
    assert process(project, *({**row, "loss_mask": None} for row in rows), strict=True).code == 0


def test_bad_answers_are_set_aside(project: Project) -> None:
    rows = [{"prompt": f"q {n}", "completion": f"a {n}", "label": n != 7} for n in range(120)]
    done = process(project, *rows)
    assert done.code == 0, done.said
    assert len(project.rows()) == 119
    assert [bad["reason"] for bad in project.rejects()] == ["a bad answer (`label: false`)"]
    assert process(project, *rows[:10]).code == 65


def test_pictures(project: Project) -> None:
    talk = [
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "A cat."},
    ]
    done = process(project, {"messages": talk, "images": ["cat.png"]})
    assert done.code == 65
    assert (
        "a row with pictures, films or sounds (`images`: only texts can be trained on)" in done.said
    )
    done = process(project, {"messages": talk, "images": []})
    assert "1 × a placeholder for a picture" in done.said
    assert process(project, {"messages": talk}, strict=True).code == 65


def test_history_and_context_are_read(project: Project) -> None:
    done = process(
        project,
        {
            "instruction": "And now?",
            "input": "",
            "output": "Rain.",
            "history": [["Morning?", "Sun."], ["Noon?", "Clouds."]],
        },
        {"instruction": "Who?", "context": "Bob is here.", "output": "Bob.", "history": []},
        strict=True,
    )
    assert done.code == 0, done.said
    assert [[turn["content"] for turn in row["messages"]] for row in project.rows()] == [
        ["Morning?", "Sun.", "Noon?", "Clouds.", "And now?", "Rain."],
        ["Who?\n\nBob is here.", "Bob."],
    ]
    bad = [
        {"instruction": "a", "output": "b", "history": history}
        for history in ("x", [["one"]], [["q", 1]], [["q", ""]])
    ]
    assert process(project, *bad).code == 65
    assert {row["reason"] for row in project.rejects()} == {
        "a history that can't be read",
        "text in the history that is not text",
        "empty answer",
    }


def test_reasoning_of_a_column(project: Project) -> None:
    rows = [
        {"Question": "q", "Complex_CoT": "hm", "Response": "a"},
        {"Question": "r", "Complex_CoT": "", "Response": "b"},
    ]
    assert process(project, *rows, strict=True).code == 0
    assert [row["messages"][1] for row in project.rows()] == [
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "assistant", "content": "b"},
    ]
    assert (
        process(project, {"question": "q", "reasoning": "hm", "answer": "<think>x</think>a"}).code
        == 65
    )


def test_tools_under_another_name(project: Project) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert (
        process(project, {"messages": talk, "tools": None, "tool_defs": [tool]}, strict=True).code
        == 0
    )
    assert project.rows()[0]["tools"] == [tool]
    assert (
        process(project, {"messages": talk, "tools": [tool], "functions": [{"name": "g"}]}).code
        == 65
    )


def test_arguments_for_the_template(project: Project) -> None:
    row = {"prompt": "q", "completion": "a", "chat_template_kwargs": {"enable_thinking": False}}
    done = process(project, row)
    assert done.code == 0
    assert "rows bring arguments for the chat template" in done.said
    assert project.rows()[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert process(project, row, strict=True).code == 65
    for bad in ("yes", [1], {"messages": []}):
        assert process(project, {**row, "chat_template_kwargs": bad}).code == 65
