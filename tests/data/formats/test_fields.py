"""Rows of named texts and pairs, turned into messages; and what is said of rows that can't be."""

from typing import Any

import pytest

from sftplay.data.formats.detect import decide
from sftplay.data.formats.fields import converter
from sftplay.data.formats.row_format import PAIRS, RowFormat
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError
from sftplay.settings import DataSettings

QA = RowFormat("question_answer", "fields", user="question", assistant="answer", system="system")
ALPACA = RowFormat(
    "alpaca", "fields", user="instruction", assistant="output", extra=("input",), system="system"
)
PAIR = RowFormat("pairs", PAIRS)


def texts(plan: RowFormat, row: Any) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in converter(plan)(row, RowNotes())]


def refusal(plan: RowFormat, row: Any) -> tuple[str, str]:
    with pytest.raises(BadRowError) as caught:
        converter(plan)(row, RowNotes())
    return caught.value.reason, caught.value.detail


def test_question_and_answer_with_a_system_text() -> None:
    row = {"question": "q", "answer": "a", "system": "s"}
    assert texts(QA, row) == [("system", "s"), ("user", "q"), ("assistant", "a")]
    assert (
        texts(QA, {**row, "system": ""})
        == texts(QA, {**row, "system": None})
        == [("user", "q"), ("assistant", "a")]
    )


@pytest.mark.parametrize(
    ("more", "user"),
    [
        ("in", "do\n\nin"),
        ("", "do"),
        (None, "do"),
        (" \n", "do"),
        ([{"type": "text", "text": "x"}], "do\n\nx"),
    ],
)
def test_alpaca_joins_instruction_and_input(more: Any, user: str) -> None:
    assert texts(ALPACA, {"instruction": "do", "input": more, "output": "o"}) == [
        ("user", user),
        ("assistant", "o"),
    ]


def test_alpaca_with_an_input_alone() -> None:
    assert texts(ALPACA, {"instruction": "", "input": "in", "output": "o"})[0] == ("user", "in")


def test_prompt_and_completion_as_messages() -> None:
    row = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    plan = decide([row], DataSettings(), "x")
    assert texts(plan, row) == [("system", "s"), ("user", "q"), ("assistant", "a")]
    mixed = {"prompt": row["prompt"], "completion": "a"}
    assert texts(plan, mixed) == texts(plan, row)
    assert refusal(plan, {"prompt": row["prompt"]}) == ("no answer", "`completion` is missing")


@pytest.mark.parametrize(
    "row",
    [
        ["q", {"answer": "a"}],
        ["q", "a"],
        [{"user": "q"}, {"assistant": "a"}],
        [{"question": "q"}, {"x": "a"}],
    ],
)
def test_pairs(row: Any) -> None:
    assert texts(PAIR, row) == [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["q"], "not a pair"),
        (["q", {"answer": "a"}, 3], "not a pair"),
        (["q", {"x": "a", "y": "b"}], "no answer"),
        (["q", {"answer": ""}], "empty answer"),
        (["q", {"answer": None}], "no answer"),
        (["q", 4], "assistant text that is not text"),
        ({"a": 1}, "not a pair"),
    ],
)
def test_bad_pairs(row: Any, reason: str) -> None:
    assert refusal(PAIR, row)[0] == reason


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"question": "q"}, "no answer", "`answer` is missing"),
        ({"question": "q", "answer": None}, "no answer", "`answer` is null"),
        ({"question": "q", "answer": " "}, "empty answer", "`answer` is empty"),
        ({"answer": "a"}, "no user text", "`question` is missing"),
        ({"question": "", "answer": "a"}, "empty user text", "`question` is empty"),
        (
            {"question": "q", "answer": 42},
            "assistant text that is not text",
            "it is a number: write it in quotes",
        ),
        (
            {"question": True, "answer": "a"},
            "user text that is not text",
            "it is true or false: write it in quotes",
        ),
        (
            {"question": "q", "answer": "a", "system": 3},
            "system text that is not text",
            "it is a number: write it in quotes",
        ),
        (["q", "a"], "not an object", "it is a list"),
        ("q", "not an object", "it is a text"),
    ],
)
def test_bad_rows(row: Any, reason: str, detail: str) -> None:
    assert refusal(QA, row) == (reason, detail)


def test_a_system_text_beside_messages() -> None:
    row = {
        "system": "s",
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "id": 1,
    }
    plan, notes = decide([row], DataSettings(), "x"), RowNotes()
    assert [turn["role"] for turn in converter(plan)(row, notes)] == ["system", "user", "assistant"]
    assert notes.unused == {"id": 1}
    twice = {**row, "conversations": [{"from": "system", "value": "t"}, *row["conversations"]]}  # type: ignore[misc]
    assert refusal(plan, twice)[0] == "two system turns"
    assert refusal(plan, {"system": "s"})[0] == "no list of messages"
