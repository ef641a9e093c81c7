"""Check that a text survives its tokenizer: decoding returns it, or a finding reports the loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sftplay.data.findings import Finding, Findings
from sftplay.data.tokenizing.byte_decode import TokenBytes, decodes_to
from sftplay.data.tokenizing.special_tokens import special_pattern

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LOST = Finding(
    "not_reversible",
    "fatal",
    "the tokenizer does not give a text back as it was",
    "take the text out, or use a model whose tokenizer knows these characters",
)
NORMALIZED = Finding(
    "normalized",
    "note",
    "the tokenizer changes characters of a text before it reads it (Unicode normalization, or ▁ for a blank)",
)
EDGES = Finding(
    "blanks_at_tokens",
    "note",
    "the tokenizer adds or takes blanks next to special tokens, in training as at inference",
)
# Unicode's White_Space, which the library takes off next to a token; Python's strip() takes more.
_EDGE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000▁"
)


def count_lost(
    backend: Tokenizer,
    token_bytes: TokenBytes | None,
    texts: list[str],
    ids: list[list[int]],
    places: Sequence[str],
    findings: Findings,
    *,
    edges: bool = False,
) -> None:
    """Count texts that decoding does not give back.

    Args:
        edges: whether white space next to special tokens, and at the ends, may differ: it does so
            at inference too.
    """
    if token_bytes is not None and decodes_to(token_bytes, texts, ids):
        return
    decoded = backend.decode_batch(ids, skip_special_tokens=False)
    if decoded == texts:
        return
    tokens = tuple(token.content for token in backend.get_added_tokens_decoder().values())
    for text, back, place in zip(texts, decoded, places, strict=True):
        if back != text:
            finding = _kind(backend, text, back, special_pattern(tokens), edges=edges)
            findings.add(
                finding, f"{place} {_difference(text, back)}" if finding is not EDGES else place
            )


def _kind(
    backend: Tokenizer, text: str, back: str, tokens: re.Pattern[str], *, edges: bool
) -> Finding:
    if edges and _sections(text, tokens) == (sections := _sections(back, tokens)):
        return EDGES
    for known in (
        backend.normalizer.normalize_str(text) if backend.normalizer else text,
        text.replace("▁", " "),
    ):
        shown = known.replace("▁", " ") if "▁" not in back else known
        if shown == back or (edges and _sections(shown, tokens) == sections):
            return NORMALIZED
    return LOST


def _sections(text: str, tokens: re.Pattern[str]) -> list[str]:
    """Return the texts between special tokens without white space at their ends, and the tokens."""
    parts, end = [], 0
    for found in tokens.finditer(text):
        parts += [text[end : found.start()].strip(_EDGE), found[0].strip()]
        end = found.end()
    return [*parts, text[end:].strip(_EDGE)]


def _difference(text: str, back: str) -> str:
    """Find where two texts part, for a message."""
    at = next(
        (i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b),
        min(len(text), len(back)),
    )
    return f"at character {at}: {text[at : at + 12]!r} became {back[at : at + 12]!r}"
