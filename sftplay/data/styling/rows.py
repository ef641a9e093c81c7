"""Processed rows with a style prompt in their system turn."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import orjson

from sftplay.data.blocks import Block
from sftplay.data.styling.prompt import StylePrompt
from sftplay.errors import DataError

# how a row begins that `process` wrote without a system turn
WITHOUT_SYSTEM = b'{"messages":[{"role":"user",'


def styled_block(block: Block, style: StylePrompt) -> tuple[int, bytes]:
    """Return how many rows a block of a processed file holds, and its lines with the style in them.

    A line feed ends a line and nothing else (inside a JSON text it is escaped), so a block in which
    no row has a system turn is done by one replacement for all its rows: nothing is parsed.

    Raises:
        DataError: a line that is no processed row (65).
    """
    made = (
        b'{"messages":['
        + orjson.dumps({"role": "system", "content": style.prompt})
        + b',{"role":"user",'
    )
    lines, rows = b"\n" + block.lines, block.lines.count(b"\n")
    if block.lines.endswith(b"\n") and lines.count(b"\n" + WITHOUT_SYSTEM) == rows:
        return rows, lines.replace(b"\n" + WITHOUT_SYSTEM, b"\n" + made)[1:]
    done = []
    for number, line in enumerate(BytesIO(block.lines), block.first):  # at line feeds only
        if line.startswith(WITHOUT_SYSTEM):
            done.append(made + line[len(WITHOUT_SYSTEM) :])
        elif line.strip():
            done.append(styled_line(line, style, f"{block.file}:{number}"))
    return len(done), b"".join(done)


def styled_line(line: bytes, style: StylePrompt, where: str) -> bytes:
    """Return one line with the style in it.

    Args:
        where: its file and line, for messages.

    Raises:
        DataError: it is no processed row (65).
    """
    try:
        row: Any = orjson.loads(line)
        first, rest = row["messages"][0], row["messages"][1:]
        if first["role"] == "system":
            messages = [{**first, "content": style.system(first["content"])}, *rest]
        else:
            messages = [{"role": "system", "content": style.system("")}, first, *rest]
        return orjson.dumps({**row, "messages": messages}, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        todo = "was it edited by hand? make the rows again: inv process"
        raise DataError(f"not a processed row ({error})"[:200], where=where, todo=todo) from None
