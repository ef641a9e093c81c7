"""One rendering of a conversation, cut into pairs: `input` (not trained on) and `target` (trained
on), and an untrained tail.

A target starts where the rendering of the messages before it, with generation prompt, ends, and
ends just after the end-of-turn token that closes it. So whatever the model has to write itself is
trained, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sftplay.data.formats.reasoning import REASONING_KEYS
from sftplay.data.rendering.completeness import lost_parts
from sftplay.data.rendering.template import ChatTemplate, Message, RefusedConversationError
from sftplay.errors import DataError

Turns = Literal["all", "last", "unroll"]
Given = tuple[list[Any] | None, Mapping[str, Any]]  # tools and further arguments for the template
NOTHING: Given = (None, {})
_THINK = re.compile("</?think>")
_OTHER_TURNS = {
    "all": "set data.turns: last (train the last answer only) or data.turns: unroll (a row for each answer)",
    "last": "set data.turns: unroll (a row for each answer, ending with it)",
}


class Cut(NamedTuple):
    """A rendered conversation in pieces; joined they are the rendering. (A tuple: there are
    millions of them.)

    Attributes:
        pairs: (input, target) of each trained turn, in order.
        tail: what follows the last target.
        rewritten: trained turns that the template renders differently while they are the last one
            (Qwen 3 drops
            `<think>` from earlier turns), so that the model is trained on other text than it would
            have to write.
        changed: trained turns whose text does not stand in the target as the data has it.
        lost: kinds of text of the conversation that do not stand in the rendering.
    """

    pairs: tuple[tuple[str, str], ...]
    tail: str
    rewritten: int = 0
    changed: int = 0
    lost: tuple[tuple[int, str], ...] = ()


def cut_rows(
    template: ChatTemplate,
    eot: str,
    messages: Sequence[Message],
    turns: Turns,
    given: Given = NOTHING,
) -> Iterator[Cut]:
    """Yield the training rows of one conversation: one, or with `unroll` one for each assistant
    turn. `train: false` is input.

    Raises:
        RefusedConversationError: the template refuses it, or there is no answer in it (65).
        DataError: the rendering can't be cut; `todo` says what helps (65).
    """
    answers = [
        index
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("train") is not False
    ]
    messages = [_without_mark(message) for message in messages]
    if not answers:
        raise RefusedConversationError("no assistant turn, nothing to train on")
    if turns == "unroll":
        for index in answers:
            yield cut(
                template, eot, messages[: index + 1], trained=[index], turns=turns, given=given
            )
    else:
        trained = answers if turns == "all" else answers[-1:]
        yield cut(template, eot, messages, trained=trained, turns=turns, given=given)


def _without_mark(message: Message) -> Message:
    """Return the message as the template gets it."""
    return (
        {key: message[key] for key in message if key != "train"} if "train" in message else message
    )


def cut(
    template: ChatTemplate,
    eot: str,
    messages: Sequence[Message],
    *,
    trained: Sequence[int],
    turns: Turns = "all",
    given: Given = NOTHING,
) -> Cut:
    """Cut one rendering; `trained` are the indexes of the assistant turns to train."""
    rendering = template.render(messages, False, *given)
    starts = [
        _start(template, rendering, messages, index, turns=turns, given=given) for index in trained
    ]
    pairs, rewritten, changed, done = [], 0, 0, 0
    for index, start, bound in zip(trained, starts, [*starts[1:], len(rendering)], strict=True):
        text = _text(messages[index])
        shorter = (
            rendering
            if index + 1 == len(messages)
            else template.render(messages[: index + 1], False, *given)
        )
        is_prefix = rendering.startswith(shorter)
        end = _end_of_message(
            rendering,
            (start, min(bound, len(shorter)) if is_prefix else bound),
            eot,
            messages[index],
            is_last=index + 1 == len(messages),
        )
        target = rendering[start:end]
        rewritten += not is_prefix and target != _alone(shorter, rendering[:start], eot, text)
        reasoning = [
            message_text for key in REASONING_KEYS if (message_text := messages[index].get(key))
        ]
        changed += not all(
            _is_whole(part, rendering, done, start, end) for part in (text, *reasoning)
        )
        pairs.append((rendering[done:start], target))
        done = end
    result = Cut(
        tuple(pairs), rendering[done:], rewritten, changed, lost_parts(rendering, messages, trained)
    )
    assert "".join(part for pair in result.pairs for part in pair) + result.tail == rendering
    return result


def _start(
    template: ChatTemplate,
    rendering: str,
    messages: Sequence[Message],
    index: int,
    *,
    turns: Turns,
    given: Given,
) -> int:
    """Find where the answer `index` begins: the length of the rendering up to it, which must begin
    the whole rendering.
    """
    prompt = template.render(messages[:index], True, *given)
    if rendering.startswith(prompt):
        return len(prompt)
    if index + 1 < len(messages) and template.render(
        messages[: index + 1], False, *given
    ).startswith(prompt):
        raise DataError(
            "the chat template renders an earlier turn differently once other turns follow",
            todo=_OTHER_TURNS[turns],
        )
    raise DataError(
        "the chat template's generation prompt is not how it begins an answer, so no target can be cut",
        todo="set data.generation_prompt: answer (asked as the template begins an answer); where it "
        "is set already, such rows are not supported with this template: take them out",
    )


def _end_of_message(
    rendering: str, place: tuple[int, int], eot: str, message: Message, *, is_last: bool
) -> int:
    """Find where a trained turn ends; `place`: where it begins, and where it must have ended."""
    try:
        return _turn_end(rendering, *place, eot, _text(message))
    except DataError as error:
        if not message.get("tool_calls"):
            raise
        others = "take out such rows" if is_last else "set data.turns: last (the last answer only)"
        raise DataError(
            f"the template closes a turn with a tool call by another token than {eot!r}",
            todo=f"training it is not supported with this template: {others}",
        ) from error


def _turn_end(rendering: str, start: int, bound: int, eot: str, text: str) -> int:
    """Just after the end-of-turn token that closes the turn: behind as many as the text itself
    spells.
    """
    inside = text.count(eot)
    end = start
    for _ in range(inside + 1):
        found = rendering.find(eot, end, bound)
        if found < 0:
            raise DataError(
                f"no end-of-turn token {eot!r} closes an assistant turn",
                todo="set data.turns: last (train the last answer only) or data.turns: unroll (a row "
                "for each answer), or name the token that closes every turn: data.eot",
            )
        end = found + len(eot)
    if inside and text.strip() not in rendering[start:end]:
        raise DataError(
            f"the text spells the end-of-turn token {eot!r} and the chat template changes it: its end can't be told",
            todo="remove the token from the text",
        )
    return end


def _is_whole(text: str, rendering: str, done: int, start: int, end: int) -> bool:
    """Tell whether an answer stands in its target; it may begin in the prompt, where that opens
    <think> for it.

    White space around reasoning may differ: templates lay it out in their own way.
    """
    text = text.strip()
    if rendering.find(text, max(done, start - len(text) + 1), end) >= 0:
        return True
    parts = [part.strip() for part in _THINK.split(text) if part.strip()]
    return len(parts) > 1 and all(rendering.find(part, start, end) >= 0 for part in parts)


def _alone(shorter: str, prompt: str, eot: str, text: str) -> str | None:
    """Return the target as it is rendered while its turn is the last; None where that can't be cut."""
    if not shorter.startswith(prompt):
        return None
    try:
        return shorter[len(prompt) : _turn_end(shorter, len(prompt), len(shorter), eot, text)]
    except DataError:
        return None


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
