"""One JSON document: an array of rows, an object that holds such arrays (`{"data": [...]}`), or a
single row.

The document is cut into the texts of its rows without being parsed as a whole; each text is then
parsed as a JSON Lines row would be. Brackets and strings out of balance are a fault of the file
(65); whatever is wrong inside a row is the row's.
"""

from __future__ import annotations

from collections.abc import Iterator

from sftplay.data.formats.known_formats import MESSAGE_KEYS, TOOLS_KEYS, plans_for
from sftplay.data.readers.json_tables import columns_of, header_of, named, table_rows
from sftplay.data.readers.json_window import JsonWindow
from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, PIECE_ROWS, Piece
from sftplay.data.readers.splits import split_named
from sftplay.data.readers.stream import Source

_MEDIA = ("images", "audios", "videos", "documents")
# Arrays under these keys belong to a row.
_OF_ONE_ROW = frozenset(
    (*MESSAGE_KEYS, *TOOLS_KEYS, *_MEDIA, "prompt", "completion", "history", "chosen", "rejected")
)
Row = tuple[int, bytes, str]  # line, text, and the top-level key of the array in which it stands


def read(source: Source, *, several: bool = False) -> Iterator[Piece]:
    """Yield pieces of row texts.

    Args:
        several: whether the text is objects one after the other, each over several lines.

    Raises:
        DataError: not one whole JSON document, with line and column (65).
    """
    text = JsonWindow(source)
    rows: list[tuple[int, bytes]] = []
    size, split = 0, ""
    for line, row, key in _several(text) if several else _rows(text):
        if size > PIECE_BYTES or len(rows) >= PIECE_ROWS or (rows and split_named(key) != split):
            yield Piece(source.used(), texts=tuple(rows), split=split)
            rows, size = [], 0
        split = split_named(key)
        rows.append((line, row))
        size += len(row)
    if text.peek():
        raise text.problem(
            "something follows its end (several values? then one a line, in a file that ends in .jsonl)"
        )
    yield Piece(source.used(), texts=tuple(rows), note=text.note, split=split)


def split_keys(source: Source) -> set[str]:
    """Return the splits that the top-level keys of a document name; all of it is read.

    Raises:
        DataError: not one whole JSON document, with line and column (65).
    """
    return {split for _, _, key in _rows(JsonWindow(source)) if (split := split_named(key))}


def _several(text: JsonWindow) -> Iterator[Row]:
    while text.peek() == b"{":
        yield (*text.value(), "")
    text.note = "objects one after the other, over several lines"


def _rows(text: JsonWindow) -> Iterator[Row]:
    first = text.peek()
    if first == b"[":
        yield from _with_header(text, _array(text))
    elif first == b"{":
        yield from _object(text)
    elif first:
        raise text.problem("an array or an object is required")


def _with_header(text: JsonWindow, rows: Iterator[tuple[int, bytes]]) -> Iterator[Row]:
    """Yield rows; those of a table whose first row names its columns become objects."""
    columns: list[str] | None = None
    for number, (line, row) in enumerate(rows):
        if number == 0 and (columns := header_of(row)):
            text.note = "its first row names the columns"
            continue
        yield line, named(row, columns) if columns else row, ""


def _array(text: JsonWindow) -> Iterator[tuple[int, bytes]]:
    text.take(b"[", "this")
    if text.peek() == b"]":
        text.at += 1
        return
    while True:
        yield text.value()
        if text.take(b",]", "a row") == b"]":
            return


def _object(text: JsonWindow) -> Iterator[Row]:
    """Yield the rows of every array of objects or lists in it; where there is none, the object is a
    row itself, or a table.
    """
    line = text.here()[0]
    members: dict[bytes, bytes] = {}
    arrays: list[str] = []
    columns: list[str] | None = None
    for key in _keys(text):
        name = key[1:-1].decode("utf-8", "replace")
        if name.lower() not in _OF_ONE_ROW and text.holds_rows():
            arrays.append(name)
            columns = columns_of(members)
            for place, row in _array(text):
                yield place, named(row, columns) if columns else row, name
        else:
            if key in members:
                raise text.problem(f"the key {name[:40]!r} stands twice")
            members[key] = text.value()[1]
            if sum(map(len, members.values())) > MAX_ROW_BYTES:
                raise text.problem(
                    "an object of over 16 MiB without an array of rows (from pandas? write it by "
                    "df.to_json(…, orient='records', lines=True))"
                )
    if arrays:
        text.note = _note(text, members, arrays, columns)
        return
    row = b"{" + b",".join(key + b":" + value for key, value in members.items()) + b"}"
    orient, rows = table_rows(row)
    text.note = f"a table of pandas (orient={orient})" if orient else text.note
    for each in rows if orient else [row]:
        yield line, each, ""


def _keys(text: JsonWindow) -> Iterator[bytes]:
    """Yield the keys of an object, in quotes; the caller reads each one's value."""
    text.take(b"{", "this")
    closed = text.peek() == b"}"
    text.at += closed
    while not closed:
        if text.peek() != b'"':
            raise text.problem("a key in quotes is required")
        _, key = text.value()
        text.take(b":", "a key")
        yield key
        closed = text.take(b",}", "a value") == b"}"


def _note(
    text: JsonWindow, members: dict[bytes, bytes], arrays: list[str], columns: list[str] | None
) -> str:
    """Describe an object that holds arrays of rows; refuse one that may mean something else."""
    names = [key[1:-1].decode("utf-8", "replace") for key in members]
    listed = ", ".join(f"`{name}`" for name in arrays)
    if next(plans_for(dict.fromkeys(names, "")), None):
        raise text.problem(
            f"the object is a row itself, and holds rows under {listed}: "
            "put a row into an array ([…]), or rename the key"
        )
    if columns_of(members) != columns:
        raise text.problem("`columns` stands behind the rows that it names: write it before them")
    if columns:
        return "a table of pandas (orient=split)"
    rest = [name for name in names if (arrays, name) != (["data"], "schema")]
    unused = f"; not used: {', '.join(f'`{name[:40]}`' for name in rest[:8])}" if rest else ""
    return f"rows under {listed}{unused}"
