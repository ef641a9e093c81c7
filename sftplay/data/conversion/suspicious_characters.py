"""Characters in texts that a person would not have meant: counted with their rows, never changed."""

from __future__ import annotations

import re
from typing import Any

from sftplay.data.findings import Finding, Findings


def _suspicious(what: str, todo: str = "", severity: Any = "warning") -> Finding:
    return Finding("suspicious_characters", severity, what, todo)


_FIX = "convert the raw file from its true encoding, or fix these rows"
_KINDS = (
    (
        re.compile("\ufffd"),
        _suspicious("U+FFFD stands where a character was lost in an earlier conversion", _FIX),
    ),
    (
        re.compile("Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|â€[\u0080-\u00bf™œžš¢¦“”]"),
        _suspicious("UTF-8 that was read in another encoding (as in `Ã©` for é)", _FIX),
    ),
    (
        re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
        _suspicious("control characters in a text", "take them out of the raw rows"),
    ),
    (
        re.compile("[\u202a-\u202e\u2066-\u2069]"),
        _suspicious(
            "characters that turn the direction of writing: a text may read otherwise than it is",
            "take them out of the raw rows",
        ),
    ),
    (
        re.compile("[\ue000-\uf8ff]"),
        _suspicious(
            "private-use characters, which mean something in one font only",
            "take them out, or write what they stand for",
        ),
    ),
    (
        re.compile("[\u00ad\u200b\u2060\ufeff]"),
        _suspicious(
            "invisible characters (zero-width space, soft hyphen, byte-order mark)", severity="note"
        ),
    ),
    (
        re.compile("\r"),
        _suspicious(
            "carriage returns (line ends of Windows): the model learns to write them",
            severity="note",
        ),
    ),
)
# the first character of each: a set is searched many times as fast as a choice of patterns
_FIRST = re.compile(
    "[\ufffdÃÂâ\x01-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ue000-\uf8ff\ufeff]"
)


def may_be_suspicious(content: bytes) -> bool:
    """Tell whether messages, as orjson writes them, need a closer look: it escapes all control
    characters but DEL.
    """
    return not content.isascii() or b"\\u" in content or b"\\r" in content or b"\x7f" in content


def has_suspicious_characters(text: str) -> bool:
    """Tell whether a text has a suspicious character."""
    return bool(_FIRST.search(text)) and any(pattern.search(text) for pattern, _ in _KINDS)


def count_suspicious_characters(
    messages: list[dict[str, Any]], place: str, findings: Findings
) -> None:
    """Count suspicious characters in a row's texts, each kind once a row."""
    text = "\n".join(message["content"] for message in messages)
    if not has_suspicious_characters(text):
        return
    for pattern, finding in _KINDS:
        if pattern.search(text):
            findings.add(finding, place)
