"""A JSON document, read in windows of any size."""

from __future__ import annotations

import io
from typing import Any

from sftplay.data.readers import document, json_window
from sftplay.data.readers.stream import Source
from sftplay.data.rejects import Reject

TABLE = [{"user": f"q{n}", "assistant": f"a{n}"} for n in range(12)]


def read(content: bytes, window: int = 1 << 20) -> tuple[list[tuple[int, Any]], str]:
    """((line, row) …, note) of a document read in windows of `window` bytes."""
    stream = io.BytesIO(content)
    source = Source("x.json", stream, stream, stream.read(min(window, 16)), "none", "UTF-8", 0)
    before, json_window._CHUNK = json_window._CHUNK, window
    try:
        pieces = list(document.read(source))
    finally:
        json_window._CHUNK = before
    rejects: list[Reject] = []
    rows = [(line, row) for piece in pieces for line, _, row in piece.parsed(rejects, "x.json")]
    assert rejects == []
    return rows, pieces[-1].note
