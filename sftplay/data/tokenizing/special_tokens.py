"""Special tokens in texts: where they stand in a rendering, and rows of data that spell one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from sftplay.data.findings import Finding, Findings
from sftplay.data.tokenizing.tokenizer import TokenizerFacts

SpecialTokens = Literal["error", "drop", "keep"]  # data.special_tokens_in_text


def special_in(text: str, tokenizer: TokenizerFacts) -> list[str]:
    """Return the special tokens that stand in a text, in order."""
    return special_pattern(tuple(tokenizer.special)).findall(text)


@lru_cache(maxsize=4)
def special_pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for any of the tokens, the longest first; nothing where there are none."""
    return re.compile(
        "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or r"(?!)"
    )


def may_spell_special(specials: tuple[str, ...], lines: bytes) -> bool:
    """Tell whether a row of a block may spell a special token: one search instead of one for each
    text.

    JSON may write a character as an escape; then the texts themselves have to be searched.
    """
    if _has_escapes(specials) or _bytes_pattern(specials).search(lines):
        return True
    return b"\\u" in lines or b"\\/" in lines


@lru_cache(maxsize=4)
def _has_escapes(specials: tuple[str, ...]) -> bool:
    """Tell whether a token has a character that JSON escapes, always or at times."""
    return any(not token.isprintable() or set('"\\') & set(token) for token in specials)


@lru_cache(maxsize=4)
def _bytes_pattern(tokens: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(special_pattern(tokens).pattern.encode())


def count_specials(
    tokens: tuple[str, ...],
    messages: Sequence[Mapping[str, Any]],
    place: str,
    findings: Findings,
    policy: SpecialTokens,
) -> bool:
    """Count the special tokens that a row's texts spell, each by itself; return whether the row may
    stay.
    """
    found = {
        token
        for message in messages
        for token in special_pattern(tokens).findall(message.get("content") or "")
    }
    for token in sorted(found):
        findings.add(_spelling_finding(token, policy), place)
    return policy == "keep" or not found


def _spelling_finding(token: str, policy: SpecialTokens) -> Finding:
    if policy == "drop":
        return Finding(
            "special_tokens_in_text",
            "warning",
            f"text spells the special token {token!r}: row set aside (data.special_tokens_in_text: drop)",
        )
    if policy == "keep":
        return Finding(
            "special_tokens_in_text",
            "note",
            f"text spells the special token {token!r} and becomes it in training",
        )
    return Finding(
        "special_tokens_in_text",
        "fatal",
        f"text spells the special token {token!r}, which would become that token",
        "take it out of the text, set such rows aside (data.special_tokens_in_text: drop), "
        "or accept it: data.special_tokens_in_text: keep",
    )
