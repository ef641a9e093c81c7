"""Traits of a chat template, found by rendering a few probe conversations: end-of-turn, system
turn, added text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sftplay.data.formats.reasoning import REASONING_KEYS
from sftplay.data.rendering.adapt import MessageForm
from sftplay.data.rendering.cut import cut
from sftplay.data.rendering.template import ChatTemplate, RefusedConversationError
from sftplay.data.tokenizing.special_tokens import special_in, special_pattern
from sftplay.data.tokenizing.tokenizer import TokenizerFacts
from sftplay.decision import Decision
from sftplay.errors import DataError

_SYSTEM, _USER, _ANSWER = "probe the system turn", "probe the user turn", "probe the answer"
_REASONING, _VALUE = "probe the reasoning", "probe the argument"
_MORE_USER, _MORE_ANSWER = "probe another user turn", "probe another answer"
_ROLE_WORDS = {"system", "user", "assistant", "model", "human", "developer", "s"}


@dataclass(frozen=True)
class TemplateTraits:
    """Traits that every row of a dataset has in common under one template.

    Attributes:
        eot: the end-of-turn token, with the reason for it.
        eot_id: its id.
        system_problem: what the template does with a system turn instead of rendering it where the
            model will see it at inference;
            empty where it is rendered.
        form: how it takes reasoning and the arguments of calls.
        default_system: system prompt that the template writes where the data has none.
        preamble: words that the template writes in front of every conversation (a knowledge date).
        answer_prefix: what the model is trained to write before an answer that has none of it
            (`<think>`…).
    """

    eot: Decision[str]
    eot_id: int
    system_problem: str
    default_system: str
    preamble: str
    answer_prefix: str
    form: MessageForm

    @property
    def system_supported(self) -> bool:
        """True if a system turn is rendered."""
        return not self.system_problem


def find_traits(
    template: ChatTemplate, tokenizer: TokenizerFacts, eot: str | None
) -> TemplateTraits:
    """Probe a template; `eot` is the config's `data.eot`.

    Raises:
        DataError: it can't render a plain conversation in a way that can be cut, or no end-of-turn
            token is known (65).
    """
    prompt, rendering = _plain(template)
    chosen = _choose_eot(template, tokenizer, rendering, eot)
    eot_id = tokenizer.token_id(chosen.value)
    if eot_id is None:
        raise DataError(
            f"the end-of-turn token {chosen.value!r} is not one token of this tokenizer",
            todo="give one that is: data.eot",
        )
    before = prompt.partition(_USER)[0]
    with_system = _attempt(template, (_SYSTEM, _USER))
    opening, supported, rest = with_system.partition(_SYSTEM)
    between = rest.partition(_USER)[0]
    default = before[len(opening) : len(before) - len(between)] if supported else ""
    if not (before.startswith(opening) and before.endswith(between) and default.strip()):
        default = ""
    ((_, answer),) = cut(
        template, chosen.value, _messages((None, _USER, _ANSWER)), trained=[1]
    ).pairs
    return TemplateTraits(
        eot=chosen,
        eot_id=eot_id,
        system_problem=_system_problem(
            template, chosen.value, refused=not with_system, printed=bool(supported)
        ),
        default_system=default.strip(),
        preamble=_words(opening if supported else before, tokenizer),
        answer_prefix=answer.partition(_ANSWER)[0],
        form=MessageForm(_reasoning_key(template), _takes_text_only(template)),
    )


def _system_problem(template: ChatTemplate, eot: str, *, refused: bool, printed: bool) -> str:
    if refused:
        return "refuses one"
    if not printed:
        return "leaves it out"
    try:
        cut(template, eot, _messages((_SYSTEM, _USER, _ANSWER)), trained=[2])
    except DataError:
        return "prints it in the last question only, and no longer once an answer follows"
    return ""


def _reasoning_key(template: ChatTemplate) -> str:
    """Return the key under which the template reads reasoning of an answer; empty where it reads
    none.
    """
    for key in REASONING_KEYS:
        messages: list[dict[str, Any]] = _messages((None, _USER, _ANSWER))
        messages[-1] = {**messages[-1], key: _REASONING}
        if _REASONING in _attempt_messages(template, messages):
            return key
    return ""


def _takes_text_only(template: ChatTemplate) -> bool:
    """Tell whether the template takes the arguments of a call as JSON text only: some join them to
    other text.
    """
    return not _prints_call(template, {"probe": _VALUE}) and _prints_call(
        template, f'{{"probe": "{_VALUE}"}}'
    )


def _prints_call(template: ChatTemplate, arguments: Any) -> bool:
    """Tell whether a call is printed, its arguments as JSON or in a form of the template's own, and
    not as Python writes them.
    """
    function = {"name": "probe_call", "arguments": arguments}
    calls = [{"id": "probe0000", "type": "function", "function": function}]
    question: dict[str, Any] = {"role": "user", "content": _USER}
    for content in ("", None):
        rendering = _attempt_messages(
            template, [question, {"role": "assistant", "content": content, "tool_calls": calls}]
        )
        if _VALUE in rendering and "{'probe'" not in rendering and '\\"probe' not in rendering:
            return True
    return False


def _plain(template: ChatTemplate) -> tuple[str, str]:
    """Return (prompt, whole rendering) of one question and one answer; both texts must stand in it."""
    messages = _messages((None, _USER, _ANSWER))
    todo = "take a text model, or give a template for text: data.chat_template"
    try:
        prompt, rendering = template.render(messages[:1], True), template.render(messages, False)
    except RefusedConversationError as error:
        raise DataError(f"{error.what}; it was one plain question and answer", todo=todo) from error
    if _USER not in prompt or _ANSWER not in rendering:
        raise DataError(
            "the chat template does not print the text of plain messages (templates of image models want lists of parts)",
            todo=todo,
        )
    return prompt, rendering


def _choose_eot(
    template: ChatTemplate, tokenizer: TokenizerFacts, rendering: str, given: str | None
) -> Decision[str]:
    if given is not None:
        return Decision(given, "data.eot")
    closing = special_in(rendering.rpartition(_ANSWER)[2], tokenizer)
    longer = _attempt(template, (None, _USER, _ANSWER, _MORE_USER, _MORE_ANSWER))
    earlier = longer.partition(_ANSWER)[2].partition(_MORE_USER)[0]
    # Phi 3 writes eos once, behind the whole conversation: only what closes earlier turns too ends
    # a turn.
    both = [token for token in closing if token in earlier] or closing
    eos = tokenizer.named.get("eos_token")
    if eos is not None and eos in both:
        return Decision(eos, "the tokenizer's eos token closes each turn")
    if both:
        return Decision(both[-1], "the last special token that the template writes after an answer")
    raise DataError(
        "the chat template closes an answer with no special token, so the model would never learn to stop",
        todo="name the token that ends a turn: data.eot",
    )


def token_after_answer(template: ChatTemplate, tokenizer: TokenizerFacts) -> str:
    """Return the special token that follows an earlier answer, where nothing closes the last one;
    empty where there is none.
    """
    longer = _attempt(template, (None, _USER, _ANSWER, _MORE_USER, _MORE_ANSWER))
    between = longer.partition(_ANSWER)[2].partition(_MORE_USER)[0]
    after = special_in(between, tokenizer)
    return after[0] if after and longer.endswith(_MORE_ANSWER) else ""


def _words(text: str, tokenizer: TokenizerFacts) -> str:
    """Return the text without special tokens and role names; empty where fewer than three words are
    left.
    """
    plain = special_pattern(tuple(tokenizer.special)).sub(" ", text)
    words = [word for word in re.findall(r"[^\W_]+", plain) if word.lower() not in _ROLE_WORDS]
    return plain.strip() if len(words) >= 3 else ""


def _attempt(template: ChatTemplate, texts: tuple[str | None, ...]) -> str:
    return _attempt_messages(template, _messages(texts))


def _attempt_messages(template: ChatTemplate, messages: list[dict[str, Any]]) -> str:
    """Return a rendering, or nothing where the template refuses it."""
    try:
        return template.render(messages, False)
    except DataError:
        return ""


def _messages(texts: tuple[str | None, ...]) -> list[dict[str, Any]]:
    """Turn texts into messages: (system or None, user, assistant, user, assistant) → messages."""
    roles = ("system", "user", "assistant", "user", "assistant")
    return [
        {"role": role, "content": text}
        for role, text in zip(roles, texts, strict=False)
        if text is not None
    ]
