"""Requests that are refused: what is not supported is named, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sftplay.model.serving.protocol import ApiError, parse_chat

HI = [{"role": "user", "content": "Hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


def _body(**values: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": HI, **values}).encode()


def _content(value: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": value}, *HI]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (_content([IMAGE]), "messages.0.content: parts of type image_url are not supported here"),
        (_content([{"type": "text"}]), "messages.0.content: a part of type text requires a text"),
        (_content([{"type": "text", "text": "a", "cache_control": {}}]), "cache_control"),
        (_content(["a"]), "messages.0.content: requires text, or parts"),
        (_content(None, "assistant"), "messages.0.content: a message without text (null)"),
        (_content(3), "messages.0.content: requires text"),
        (_content("a", "tool"), "messages.0.role: requires 'system', 'developer', 'user' or"),
        ({"n": 2}, "n: several answers to one request are not supported here"),
        ({"n": "x"}, "n: requires a whole number"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop: more than 4 stop texts are not supported"),
        ({"stop": [1]}, "stop.0: requires text"),
        ({"stop": {}}, "stop: requires a list"),
        ({"max_tokens": 0}, "max_tokens: requires at least 1"),
        ({"max_tokens": "many"}, "max_tokens: requires a whole number"),
        ({"temperature": "hot"}, "temperature: requires a number"),
        ({"temperature": 101}, "temperature: requires at most 100"),
        ({"top_p": 0}, "top_p: requires more than 0"),
        ({"stream": "maybe"}, "stream: requires true or false"),
        ({"response_format": "json"}, "response_format: requires keys with values"),
        ({"messages": "Hi"}, "messages: requires a list"),
        ({"messages": []}, "messages: requires at least 1"),
        ({"model": None}, "model: requires text"),
        ({"logprobs": True}, "not supported here: logprobs"),
    ],
)
def test_what_is_not_supported_is_named_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_chat(_body(**values))
    assert said in str(refused.value), refused.value
    assert "Input should" not in str(refused.value) and refused.value.status == 400


def test_parts_of_text_are_joined_and_one_stop_text_is_a_list() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = parse_chat(_body(messages=[{"role": "user", "content": parts}], stop="end", n=1))
    assert request.messages[0].plain() == {"role": "user", "content": "ab"}
    assert request.stops == ["end"]
