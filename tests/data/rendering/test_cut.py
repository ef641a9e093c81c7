"""Start and end of a target: inputs and targets written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.data.rendering.cut import Cut, cut_rows
from sftplay.data.rendering.template import ChatTemplate, RefusedConversationError
from sftplay.errors import DataError
from tests.data.models import CHATML, CHATML_NAMED

EOT = "<|im_end|>"
TEMPLATE = ChatTemplate(CHATML, CHATML_NAMED)


def talk(*texts: str) -> list[dict[str, Any]]:
    return [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(texts)
    ]


def cuts(*texts: str, turns: Any = "all", template: ChatTemplate = TEMPLATE) -> list[Cut]:
    return list(cut_rows(template, EOT, talk(*texts), turns))


def user(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_one_turn() -> None:
    assert cuts("a", " b\n") == [Cut(((user("a"), " b\n<|im_end|>"),), "\n")]


def test_every_turn_of_a_conversation() -> None:
    (cut,) = cuts("a", "b", "c", "d")
    assert cut == Cut(((user("a"), "b<|im_end|>"), ("\n" + user("c"), "d<|im_end|>")), "\n")


def test_only_the_last_turn() -> None:
    (cut,) = cuts("a", "b", "c", "d", turns="last")
    assert cut.pairs == ((f"{user('a')}b<|im_end|>\n{user('c')}", "d<|im_end|>"),)


def test_a_row_for_each_turn() -> None:
    first, second = cuts("a", "b", "c", "d", turns="unroll")
    assert first == cuts("a", "b")[0]
    assert second == cuts("a", "b", "c", "d", turns="last")[0]


def test_what_follows_the_last_answer_is_the_tail() -> None:
    (cut,) = cuts("a", "b", "c")
    assert cut.pairs == ((user("a"), "b<|im_end|>"),)
    assert cut.tail == "\n<|im_start|>user\nc<|im_end|>\n"


@pytest.mark.parametrize(
    "text", [EOT, f"x{EOT}", f"{EOT}\n{EOT}y", f"{EOT}\n<|im_start|>user\nz{EOT}"]
)
def test_an_answer_that_spells_the_end_of_turn_ends_behind_it(text: str) -> None:
    (cut,) = cuts("a", text, f"b{EOT}", text)
    assert [target for _, target in cut.pairs] == [text + EOT, text + EOT]


def test_no_answer_is_a_refusal_of_the_row() -> None:
    with pytest.raises(RefusedConversationError, match="no assistant turn"):
        cuts("a")


def test_a_turn_that_nothing_closes() -> None:
    with pytest.raises(DataError, match="no end-of-turn") as refused:
        list(cut_rows(TEMPLATE, "<|eot|>", talk("a", "b"), "all"))
    assert "data.eot" in refused.value.todo


def test_a_template_that_drops_part_of_an_answer_is_seen() -> None:
    shorter = ChatTemplate(
        CHATML.replace("message['content']", "message['content'].split('</think>')[-1]"),
        CHATML_NAMED,
    )
    (cut,) = cuts("a", "<think>hm</think>b", template=shorter)
    assert cut.changed == 1
    assert cut.pairs[0][1] == "b<|im_end|>"
    assert cuts("a", "b", template=shorter)[0].changed == 0


def test_an_answer_s_end_is_not_guessed() -> None:
    """The reasoning that is taken out spells the end of turn: counting it would train the next
    user's text.
    """
    shorter = ChatTemplate(
        CHATML.replace("message['content']", "message['content'].split('</think>')[-1]"),
        CHATML_NAMED,
    )
    with pytest.raises(DataError, match="end"):
        cuts("a", f"<think>{EOT}</think>b", "c", "d", template=shorter)


def test_tools_reach_the_template() -> None:
    template = ChatTemplate("{% if tools %}{{ tools[0].name }}{% endif %}" + CHATML, CHATML_NAMED)
    (cut,) = cut_rows(template, EOT, talk("a", "b"), "all", ([{"name": "calculator"}], {}))
    assert cut.pairs[0][0].startswith("calculator")
