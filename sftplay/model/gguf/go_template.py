"""A run's chat template for Ollama, whose templates are Go's text/template.

A Jinja template can't be translated in general. What nearly all chat templates do can be: put fixed
texts around each message. Those texts are found by rendering, and kept only if they give the same
prompts as the template itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

Render = Callable[[list[dict[str, str]]], str]  # messages → prompt, up to where the answer begins

_S, _U, _A, _V = "qzSYSTEMzq", "qzUSERzq", "qzANSWERzq", "qzAGAINzq"
_TURNS = (
    ("How many clips?",),
    ("One.", "Two.", "Three."),
    ("a\nb", "c\n\nd: `e`", 'say "hi" {{ x }}', "Grüße 🦊", "<b>1 & 2</b>"),
)
_EDGES = (("  indented\n",), ("one\n\n", "  two ", "three"))


@dataclass(frozen=True)
class ChatFrame:
    """Fixed texts of a chat template.

    Attributes:
        begin: in front of the first user turn where there is no system turn.
        system: in front of the system turn; after_system: between it and the first user turn. None:
            the template takes no system turn.
        answer: between a user turn and the answer; again: between an answer and the next user turn.
        keeps_edges: spaces and line ends around a message are rendered as they are.
    """

    begin: str
    system: str | None
    after_system: str
    answer: str
    again: str
    keeps_edges: bool = True

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """Return the prompt of a conversation that ends with a user turn."""
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        turns = [message["content"] for message in messages if message["role"] != "system"]
        text = self.begin if system is None else f"{self.system}{system}{self.after_system}"
        for number, content in enumerate(turns):
            text += content + (self.again if number % 2 else self.answer)
        return text

    def without_start(self, token: str) -> ChatFrame:
        """Return the frame without the token that a server adds in front itself."""
        system = None if self.system is None else self.system.removeprefix(token)
        return replace(self, begin=self.begin.removeprefix(token), system=system)

    def go(self) -> str:
        """Return it as Go's text/template, with Ollama's variables.

        Every text is a quoted string, so that no space is lost between Modelfile and model.
        """
        start = _quoted(self.begin)
        if self.system is not None:
            system = f"{_quoted(self.system)}{{{{ .System }}}}{_quoted(self.after_system)}"
            start = f"{{{{ if .System }}}}{system}{{{{ else }}}}{start}{{{{ end }}}}"
        user = f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{_quoted(self.answer)}'
        # an answer in the last place is one that the model continues
        last = "{{ if ne (len (slice $.Messages $i)) 1 }}"
        answer = (
            f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}'
            f"{last}{_quoted(self.again)}{{{{ end }}}}"
        )
        turns = f"{{{{ range $i, $_ := .Messages }}}}{user}{answer}{{{{ end }}}}{{{{ end }}}}"
        return start + turns


def find_frame(render: Render) -> ChatFrame | None:
    """Return the fixed texts of a chat template; None where it does more than put them around
    messages.
    """
    try:
        frame = _guess(render)
        if frame is None or not all(_holds(frame, render, turns) for turns in _TURNS):
            return None
        edges = all(_holds(frame, render, turns) for turns in _EDGES)
    except Exception:  # noqa: BLE001 - a template may raise anything at a conversation it refuses
        return None
    return replace(frame, keeps_edges=edges)


def _guess(render: Render) -> ChatFrame | None:
    turns = [_turn("user", _U), _turn("assistant", _A), _turn("user", _V)]
    cut = _cut(render(turns), (_U, _A, _V))
    if cut is None:
        return None
    begin, answer, again, last = cut
    if last != answer:
        return None
    frame = ChatFrame(begin, None, "", answer, again)
    try:
        with_system = _cut(render([_turn("system", _S), *turns]), (_S, _U, _A, _V))
    except Exception:  # noqa: BLE001 - a template that refuses a system turn
        return frame
    if with_system is None or with_system[2:] != [answer, again, answer]:
        return None
    return replace(frame, system=with_system[0], after_system=with_system[1])


def _cut(text: str, words: Sequence[str]) -> list[str] | None:
    """Return the texts around these words; None where one is not there exactly once, in order."""
    parts = []
    for word in words:
        before, found, text = text.partition(word)
        if not found or word in text:
            return None
        parts.append(before)
    return [*parts, text]


def _holds(frame: ChatFrame, render: Render, contents: Sequence[str]) -> bool:
    turns = [_turn("assistant" if n % 2 else "user", text) for n, text in enumerate(contents)]
    asked = [turns]
    if frame.system is not None:
        asked.append([_turn("system", f"Be brief. {contents[0]}"), *turns])
    return all(frame.prompt(messages) == render(messages) for messages in asked)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _quoted(text: str) -> str:
    # JSON's escapes are Go's, but for characters above U+FFFF, which stay as they are
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""
