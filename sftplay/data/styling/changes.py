"""The change that a style prompt makes in the rows, and the answers that it leaves, shown to a
person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import orjson

from sftplay import console
from sftplay.data.styling.prompt import StylePrompt
from sftplay.data.styling.rows import WITHOUT_SYSTEM, styled_line

_SHOWN_ANSWERS = 3


def preview(files: Sequence[Path], style: StylePrompt) -> None:
    """Show rows before and after, on stdout: the first one without a system turn, and the first one
    with one, of each split.
    """
    shown: set[str] = set()
    for path in files:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                kind = "without" if line.startswith(WITHOUT_SYSTEM) else "with"
                if kind not in shown and line.strip():
                    shown.add(kind)
                    _show_change(line, style, f"{path}:{number}", f"a row {kind} a system turn")
                if len(shown) == 2:
                    break
    console.info("nothing was written: the same command without --preview does it")


def _show_change(line: bytes, style: StylePrompt, where: str, what: str) -> None:
    after = orjson.loads(styled_line(line, style, where))
    before = orjson.loads(line)
    old = before["messages"][0]["content"] if before["messages"][0]["role"] == "system" else None
    console.result(f"── {what} ({where}), {style.mode}")
    for mark, text in (("-", old), ("+", after["messages"][0]["content"])):
        for part in ("(no system turn)" if text is None else text).split("\n"):
            console.result(f"{mark} {part}")
    turn = next(turn for turn in after["messages"] if turn["role"] != "system")
    console.result(
        f"  {turn['role']}: {_shortened(turn['content'])} (as it was, and all that follows)\n"
    )


def show_first_change(before: Sequence[Path], after: Sequence[Path], style: StylePrompt) -> None:
    """Say what the change looks like, on the first row."""
    old, new = (_first_system(files) for files in (before, after))
    console.info(f"system turn of the first row ({style.mode}): before: {old}; after: {new}")


def warn_of_answers(files: Sequence[Path], style: StylePrompt) -> None:
    """Show the beginnings of a few answers next to the prompt: nobody but a person can tell whether
    they follow it.
    """
    answers = [
        message["content"]
        for line in islice(_lines(files), _SHOWN_ANSWERS)
        for message in _messages(line)
        if message["role"] == "assistant" and message["content"].strip()
    ]
    shown = "".join(f"\n  {_shortened(answer)}" for answer in answers[:_SHOWN_ANSWERS])
    console.warning(
        "the answers stay as they are. Do they follow the style prompt "
        f"{_shortened(style.prompt)}? If not, training teaches the model to ignore it:{shown}"
    )


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    """Yield the lines that are not blank: people edit these files."""
    for path in files:
        with open(path, "rb") as lines:
            yield from filter(bytes.strip, lines)


def _messages(line: bytes) -> list[dict[str, str]]:
    """Return role and text of each message; none where `process` did not write the line: `render`
    will say what is wrong with it.
    """
    try:
        return [
            {"role": message["role"], "content": message["content"] or ""}
            for message in orjson.loads(line)["messages"]
        ]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []


def _first_system(files: Sequence[Path]) -> str:
    line = next(_lines(files), None)
    if line is None:
        return "none"
    messages = _messages(line)
    if not messages:
        return "?"
    return _shortened(messages[0]["content"]) if messages[0]["role"] == "system" else "none"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:99] + "…")
