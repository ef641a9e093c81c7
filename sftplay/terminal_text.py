"""Text that a terminal shows and does not obey.

Data, file names, model names and answers may hold escape sequences, other control characters, or
characters that reverse the direction of what follows (CVE-2021-42574). They are written as escapes
at the places where lines leave: `console`, and the tables of the host.
"""

from __future__ import annotations

import re

_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Control characters but tab and line feed, separators that terminals treat as ends of lines, and
# halves of surrogate pairs, which no terminal can be sent.
_OBEYED = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_BIDIRECTIONAL}]")
_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")


def harmless(text: str, *, colors: bool = False) -> str:
    """Write what a terminal would obey as escapes; tabs and line feeds stay.

    Args:
        colors: leave color sequences: for text of our own whose foreign parts are harmless already.
    """
    if not _OBEYED.search(text):
        return text
    if not colors:
        return _OBEYED.sub(_escape, text)
    parts = _COLOR.split(text)  # every second one is a color
    parts[::2] = (_OBEYED.sub(_escape, part) for part in parts[::2])
    return "".join(parts)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
