"""Recognising a file's format by its keys, and what is said where none fits."""

from typing import Any

import pytest

from sftplay.data.formats.detect import decide
from sftplay.errors import ConfigError, DataError
from sftplay.settings import DataSettings

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def plan(*rows: Any, **data: Any) -> Any:
    return decide(rows, DataSettings(**data), "x.jsonl")


@pytest.mark.parametrize(
    ("row", "format_name"),
    [
        ({"user": "q", "assistant": "a"}, "sftplay"),
        ({"system": "s", "user": "q", "assistant": "a"}, "sftplay"),
        ({"instruction": "i", "input": "", "output": "o"}, "alpaca"),
        ({"instruction": "i", "output": "o"}, "alpaca"),
        ({"instruction": "i", "context": "c", "response": "r", "category": "x"}, "alpaca"),
        ({"messages": TURNS}, "messages"),
        ({"prompt": "q", "prompt_id": "1", "messages": TURNS}, "messages"),
        ({"conversations": SHARED}, "sharegpt"),
        ({"conversations": TURNS}, "messages"),
        ({"messages": SHARED}, "sharegpt"),
        (TURNS, "messages"),
        ({"prompt": "p", "completion": "c"}, "prompt_completion"),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, "prompt_completion"),
        ({"question": "q", "answer": "a"}, "question_answer"),
        ({"Question": "q", "Answer": "a"}, "question_answer"),
        (["q", {"answer": "a"}], "pairs"),
        (["q", "a"], "pairs"),
    ],
)
def test_formats(row: Any, format_name: str) -> None:
    assert plan(row).format == format_name
    assert plan(row, format=format_name).format == format_name


def test_the_evidence_says_why() -> None:
    found = plan(
        {"question": "q", "answer": "a"},
        {"question": "q", "answer": "a"},
        {"user": "u", "assistant": "a"},
    )
    assert (
        found.evidence == "2 of the first 3 rows have `question` and `answer`; 1 look like sftplay"
    )


def test_the_config_decides_where_two_formats_fit() -> None:
    row = {"messages": TURNS, "question": "q", "answer": "a"}
    assert plan(row).format == "messages"
    found = plan(row, format="question_answer")
    assert found.format == "question_answer"
    assert "as data.format says" in found.evidence


def test_fields_name_any_columns() -> None:
    row = {"ctx": "c", "q": "x", "a": "y", "question": "no", "answer": "no"}
    found = plan(row, fields={"user": "q", "assistant": "a", "input": "ctx"})
    assert (found.format, found.user, found.assistant, found.extra) == (
        "fields",
        "q",
        "a",
        ("ctx",),
    )
    assert plan({"chat": TURNS}, fields={"messages": "chat"}).messages == "chat"


def test_some_fields_complete_what_was_recognised() -> None:
    found = plan({"persona": "s", "question": "q", "answer": "a"}, fields={"system": "persona"})
    assert (found.format, found.system, found.user) == ("question_answer", "persona", "question")


def test_a_field_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        plan({"frage": "q", "antwort": "a"}, fields={"user": "frage", "assistant": "antwortt"})
    assert "`frage`, `antwort`" in caught.value.what
    assert "did you mean `antwort`?" in caught.value.todo


def test_contradictory_fields() -> None:
    with pytest.raises(ConfigError):
        plan({"m": TURNS, "u": "q"}, fields={"messages": "m", "user": "u"})


@pytest.mark.parametrize(
    "row", [{"title": "t", "text": "x"}, {"answer": "a"}, ["a", "b", "c"], "text", 7]
)
def test_nothing_fits(row: Any) -> None:
    with pytest.raises(DataError, match="no known row format") as caught:
        plan(row)
    assert "data.fields.user=" in caught.value.todo


def test_a_forced_format_that_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"alpaca.*`question`"):
        plan({"question": "q", "answer": "a"}, format="alpaca")
