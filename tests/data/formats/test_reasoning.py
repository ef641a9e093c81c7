"""Reasoning in answers: taken out whole, or the row is refused; other texts are left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.formats.reasoning import (
    has_reasoning,
    may_have_reasoning,
    read_reasoning,
    without_reasoning,
)
from sftplay.data.rejects import BadRowError


def talk(answer: str, ask: str = "q") -> list[dict[str, Any]]:
    return [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>\nhm\n</think>\n\nFour.", "Four."),
        ("<think></think>Four.", "Four."),
        ("So <think>a</think>it is <think>b\n\nc</think> four. ", "So it is four. "),
        (" Four, I think>", " Four, I think>"),
    ],
)
def test_taken_out(answer: str, left: str) -> None:
    assert without_reasoning(talk(answer, "what is <think>?")) == talk(left, "what is <think>?")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<think>no end", "reasoning without beginning or end"),
        ("no beginning</think>Four.", "reasoning without beginning or end"),
        ("<think>a<think>b</think>c</think>d", "reasoning without beginning or end"),
        ("<think>only</think>\n", "empty answer"),
    ],
)
def test_refused(answer: str, reason: str) -> None:
    assert has_reasoning(talk(answer))
    with pytest.raises(BadRowError) as caught:
        without_reasoning(talk(answer))
    assert caught.value.reason == reason


def test_a_call_may_be_all_that_is_left() -> None:
    (_, answer) = messages = talk("<think>I have to look.</think>")
    answer["tool_calls"] = [{"function": {"name": "look", "arguments": {}}}]
    assert without_reasoning(messages)[1] == {**answer, "content": ""}


def test_only_answers_count() -> None:
    assert not has_reasoning(talk("Four.", "<think>x</think>"))


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "four"]))


@given(PIECES.map("".join))
def test_no_tag_is_ever_left_and_rows_without_one_stay(answer: str) -> None:
    try:
        ((_, left),) = [without_reasoning(talk(answer))]
    except BadRowError:
        assert has_reasoning(talk(answer))
        return
    assert not may_have_reasoning(left["content"].encode())
    assert has_reasoning(talk(answer)) or left["content"] == answer


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_in_a_key_of_its_own(key: str) -> None:
    assert read_reasoning({"content": "a", key: "hm"}) == "hm"
    assert read_reasoning({"content": "a", key: None, "reasoning_content": " "}) == ""
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
    ]
    assert has_reasoning(messages)
    assert without_reasoning(messages) == talk("a")


@pytest.mark.parametrize("item", [{"thinking": ["hm"]}, {"thinking": "hm", "reasoning": "well"}])
def test_reasoning_that_can_not_be_read(item: dict[str, Any]) -> None:
    with pytest.raises(BadRowError, match="reasoning"):
        read_reasoning(item)
