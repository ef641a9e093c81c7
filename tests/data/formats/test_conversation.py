"""Conversations: every dialect's roles, turns in order, and each kind of trouble refused by its
name.
"""

from typing import Any

import pytest

from sftplay.data.formats.conversation import ROLES, read_messages
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError


def turns(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in pairs]


def refusal(items: Any) -> str:
    with pytest.raises(BadRowError) as caught:
        read_messages(items, RowNotes())
    return caught.value.reason


def test_several_turns_stay_several_turns() -> None:
    items = turns(
        ("system", "s"), ("user", "q"), ("assistant", "a"), ("user", " q2\n"), ("assistant", " a2 ")
    )
    assert read_messages(items, RowNotes()) == items  # texts untouched


def test_sharegpt_with_a_tool() -> None:
    items = [
        {"from": "human", "value": "weather?"},
        {"from": "gpt", "value": "<call>"},
        {"from": "tool", "value": ""},
        {"from": "gpt", "value": "sunny"},
    ]
    assert [turn["role"] for turn in read_messages(items, RowNotes())] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


@pytest.mark.parametrize("name", ROLES)
def test_roles_of_all_dialects_in_any_case(name: str) -> None:
    before = {"system": [], "user": [], "assistant": ["user"], "tool": ["user", "assistant"]}[
        ROLES[name]
    ]
    after = {
        "system": ["user", "assistant"],
        "user": ["assistant"],
        "assistant": [],
        "tool": ["assistant"],
    }[ROLES[name]]
    for spelled in (name, name.capitalize()):
        items = turns(*((role, "x") for role in [*before, spelled, *after]))
        assert read_messages(items, RowNotes())[len(before)]["role"] == ROLES[name]


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert (
        read_messages(turns(("user", parts), ("assistant", "a")), RowNotes())[0]["content"]
        == "one two"
    )


def test_an_empty_system_turn_is_none() -> None:
    assert (
        len(read_messages(turns(("system", "  "), ("user", "q"), ("assistant", "a")), RowNotes()))
        == 2
    )


def test_other_keys_are_counted() -> None:
    notes = RowNotes()
    items = [
        {"role": "user", "content": "q", "name": "Ann", "id": None},
        {"role": "assistant", "content": "a", "weight": 1},
    ]
    read_messages(items, notes)
    assert notes.unused == {"messages[].name": "Ann"}


IMAGE = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "what is it?"}]
USER = ("user", "q")
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
}
KEPT = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Bern"}},
}


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
        (
            [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": None, "tool_calls": [{}]},
            ],
            "a tool call that can't be read",
        ),
        (
            [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{}"}],
            "a tool call that can't be read",
        ),
        ([{"from": "human", "value": "q"}, {"from": "function_call", "value": ""}], "no answer"),
        (
            [
                {"role": "user", "content": "q", "tool_calls": [CALL]},
                {"role": "assistant", "content": "a"},
            ],
            "a tool call that is not the assistant's",
        ),
        (
            [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "train": False},
            ],
            "no answer to train",
        ),
        (
            [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "weight": 0.5},
            ],
            "a mark that can't be read",
        ),
        (
            [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "train": "no"},
            ],
            "a mark that can't be read",
        ),
        (["hello"], "a message that is no object"),
        ("hello", "no list of messages"),
    ],
)
def test_refused_by_name(items: Any, reason: str) -> None:
    assert refusal(items) == reason


@pytest.mark.parametrize("mark", [{"train": False}, {"weight": 0}, {"weight": 0.0, "train": None}])
def test_an_answer_that_is_not_to_be_trained_keeps_the_mark(mark: dict[str, Any]) -> None:
    items = turns(USER, ("assistant", "bad"), USER, ("assistant", "good"))
    items[1] |= mark
    items[2] |= {"weight": 0}  # a user's turn is never trained anyway
    notes = RowNotes()
    assert [turn.get("train") for turn in read_messages(items, notes)] == [None, False, None, None]
    assert not notes.unused and not notes.findings


def test_calls_in_the_openai_form() -> None:
    items = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "tool",
            "content": "4 degrees",
            "name": "weather",
            "tool_call_id": "c1",
            "other": 1,
        },
        {"role": "assistant", "content": "cold"},
    ]
    notes = RowNotes()
    assert read_messages(items, notes) == [
        items[0],
        {"role": "assistant", "content": "", "tool_calls": [KEPT]},
        {"role": "tool", "content": "4 degrees", "name": "weather", "tool_call_id": "c1"},
        items[3],
    ]
    assert notes.unused == {"messages[].other": 1}


def test_a_call_in_a_turn_of_its_own() -> None:
    items = [
        {"from": "human", "value": "q"},
        {
            "from": "function_call",
            "value": '{"name": "weather", "arguments": {"city": "Bern"}}',
            "weight": 0,
        },
        {"from": "observation", "value": "4 degrees"},
        {"from": "gpt", "value": "cold"},
    ]
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
    assert read_messages(items, RowNotes())[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [call],
        "train": False,
    }


def call_turn(name: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool_call", "content": f'{{"name": "{name}", "arguments": {{}}}}', **more}


def test_calls_in_turns_of_their_own_belong_to_one_answer() -> None:
    """Ms-swift's way: several calls in a row, behind a text or not."""
    items = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "I'll look."},
        call_turn("f"),
        call_turn("g"),
        {"role": "tool_response", "content": "1"},
        {"role": "tool_response", "content": "2"},
        {"role": "assistant", "content": "a"},
    ]
    messages = read_messages(items, RowNotes())
    assert [turn["role"] for turn in messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert messages[1]["content"] == "I'll look."
    assert [call["function"]["name"] for call in messages[1]["tool_calls"]] == ["f", "g"]
    items[2] = call_turn("f", loss=False)
    assert refusal(items) == "marks that contradict each other"


def test_reasoning_in_a_key_of_its_own_is_kept() -> None:
    items = turns(USER, ("assistant", "a"))
    items[1]["thinking"] = "hm"
    notes = RowNotes()
    assert read_messages(items, notes)[1] == {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
    }
    assert not notes.unused
    items[1]["content"] = "<think>well</think>a"
    assert refusal(items) == "reasoning stands twice"
    items = turns(USER, ("assistant", "a"))
    items[0]["thinking"] = "hm"  # of the user: nobody reads it
    read_messages(items, notes)
    assert notes.unused == {"messages[].thinking": "hm"}
