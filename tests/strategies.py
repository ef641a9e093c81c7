"""Random inputs for the fuzz tests: JSON of any shape, and good files with something wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, 1, 1e308, -1e308, 5e-324, 2**31, 2**63, 10**39, -(10**39), 0.1, 1e16, 253402300800]
    ),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
WORDS = st.one_of(
    st.sampled_from(
        ["", " ", "x", "../..", "/", "\x00", "\x1b[31m", "\u202e", "null", "1e5", "yes", "a\nb",
         "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00", "sha256:0", "😀", "{{ x }}", "%s"]
    ),
    st.text(max_size=8),
)  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn, whole: Any) -> Any:
    """A good value with up to three places that hold something else, or are gone."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        node, before, key = value, None, None
        while isinstance(node, (dict, list)) and node and (before is None or draw(st.booleans())):
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            before, key = node, draw(st.sampled_from(places))
            node = before[key]
        if before is None:
            return draw(JSON)
        if isinstance(before, dict) and draw(st.integers(0, 4)) == 0:
            del before[key]
        else:
            before[key] = draw(JSON)
    return value


def spoiled_json(whole: Any) -> st.SearchStrategy[bytes]:
    """The same as a file: sometimes cut off, or with a byte of it changed."""
    return st.one_of(
        spoiled(whole).map(lambda value: json.dumps(value).encode()),
        torn(json.dumps(whole).encode()),
    )


@st.composite
def torn(draw: st.DrawFn, whole: bytes) -> bytes:
    """A good file with bytes changed, cut out or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 5))] = draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"\n", b"{", b"[", b'"', b",", b":", b"- ", b"\xff", b"9" * 50]),
            )
        )
    return bytes(content)
