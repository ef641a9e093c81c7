"""Conversations: every dialect's roles, turns in order, and each kind of trouble refused by its name."""

from typing import Any

import pytest

from sftplay.data.formats.conversation import ROLES, read_messages
from sftplay.data.rejects import BadRowError


def turns(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in pairs]


def refusal(items: Any) -> str:
    with pytest.raises(BadRowError) as caught:
        read_messages(items, {})
    return caught.value.reason


def test_several_turns_stay_several_turns() -> None:
    items = turns(("system", "s"), ("user", "q"), ("assistant", "a"), ("user", " q2\n"), ("assistant", " a2 "))
    assert read_messages(items, {}) == items  # texts untouched


def test_sharegpt_with_a_tool() -> None:
    items = [
        {"from": "human", "value": "weather?"},
        {"from": "gpt", "value": "<call>"},
        {"from": "tool", "value": ""},
        {"from": "gpt", "value": "sunny"},
    ]
    assert [turn["role"] for turn in read_messages(items, {})] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("name", ROLES)
def test_roles_of_all_dialects_in_any_case(name: str) -> None:
    before = {"system": [], "user": [], "assistant": ["user"], "tool": ["user", "assistant"]}[ROLES[name]]
    after = {"system": ["user", "assistant"], "user": ["assistant"], "assistant": [], "tool": ["assistant"]}[
        ROLES[name]
    ]
    for spelled in (name, name.capitalize()):
        items = turns(*((role, "x") for role in [*before, spelled, *after]))
        assert read_messages(items, {})[len(before)]["role"] == ROLES[name]


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert read_messages(turns(("user", parts), ("assistant", "a")), {})[0]["content"] == "one two"


def test_an_empty_system_turn_is_none() -> None:
    assert len(read_messages(turns(("system", "  "), ("user", "q"), ("assistant", "a")), {})) == 2


def test_other_keys_are_counted() -> None:
    dropped: dict[str, int] = {}
    items = [
        {"role": "user", "content": "q", "name": "Ann", "id": None},
        {"role": "assistant", "content": "a", "weight": 1},
    ]
    read_messages(items, dropped)
    assert dropped == {"messages[].name": 1, "messages[].weight": 1}


IMAGE = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "what is it?"}]
USER = ("user", "q")


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (turns(("assistant", "a")), "the conversation starts with the assistant"),
        (turns(("system", "s"), ("assistant", "a")), "the conversation starts with the assistant"),
        (turns(USER, USER, ("assistant", "a")), "two user turns in a row"),
        (turns(USER, ("assistant", "a"), ("assistant", "b")), "two assistant turns in a row"),
        (turns(USER, ("assistant", "a"), ("system", "s")), "a system turn that is not the first"),
        (turns(USER, ("tool", "t"), ("assistant", "a")), "a tool turn after the user's"),
        (turns(USER, ("assistant", "a"), USER), "the last turn has no answer"),
        (turns(USER), "no answer"),
        ([], "no answer"),
        (turns(USER, ("assistant", "")), "empty answer"),
        (turns(USER, ("assistant", " \n"), USER, ("assistant", "b")), "empty answer"),
        (turns(USER, ("assistant", None)), "no answer"),
        (turns(("user", ""), ("assistant", "a")), "empty user text"),
        (turns(("user", IMAGE), ("assistant", "a")), "a part that is no text: image_url"),
        (turns(USER, ("assistant", 42)), "assistant text that is not text"),
        (turns(USER, ("narrator", "a")), "unknown role"),
        (turns((7, "a")), "unknown role"),  # type: ignore[arg-type]
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [{}]}], "a tool call"),
        ([{"from": "human", "value": "q"}, {"from": "function_call", "value": "{}"}], "a tool call"),
        (
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": False}],
            "a message marked as not to be trained",
        ),
        (["hello"], "a message that is no object"),
        ("hello", "no list of messages"),
    ],
)
def test_refused_by_name(items: Any, reason: str) -> None:
    assert refusal(items) == reason
