"""One JSON document: an array of rows, an object that holds such arrays (`{"data": [...]}`), or a
single row.

The document is cut into the texts of its rows without being parsed as a whole, so memory does not
grow with it; each text is then parsed as a JSON Lines row would be. Brackets and strings out of
balance are a fault of the file (65); whatever is wrong inside a row is the row's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sftplay.data.formats.detect import MESSAGE_KEYS, TOOLS_KEYS, plans_for
from sftplay.data.readers.json_tables import columns_of, header_of, named, table_rows
from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, PIECE_ROWS, Piece
from sftplay.data.readers.splits import split_named
from sftplay.data.readers.stream import Source
from sftplay.errors import DataError

_CHUNK = 1 << 20
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_STRING, _PLAIN = rb'"(?:[^"\\]++|\\.)*+"', rb'[^"{}\[\]]++'
_FLAT = rb"\{(?:%b|%b)*+\}" % (_PLAIN, _STRING)
_LIST = rb"\[(?:%b|%b|%b)*+\]" % (_PLAIN, _STRING, _FLAT)
_USUAL_ROW = re.compile(
    rb"\{(?:%b|%b|%b)*+\}" % (_PLAIN, _STRING, _LIST), re.DOTALL
)  # most rows in one match
# a whole string, a bracket, a number or word, or the quote of a string that does not end here
_TOKEN = re.compile(rb'%b|[{}\[\]]|[^\s,:"{}\[\]]++|"' % _STRING, re.DOTALL)
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
    text = _Text(source)
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
    return {split for _, _, key in _rows(_Text(source)) if (split := split_named(key))}


def _several(text: _Text) -> Iterator[Row]:
    while text.peek() == b"{":
        yield (*text.value(), "")
    text.note = "objects one after the other, over several lines"


def _rows(text: _Text) -> Iterator[Row]:
    first = text.peek()
    if first == b"[":
        yield from _with_header(text, _array(text))
    elif first == b"{":
        yield from _object(text)
    elif first:
        raise text.problem("an array or an object is required")


def _with_header(text: _Text, rows: Iterator[tuple[int, bytes]]) -> Iterator[Row]:
    """Yield rows; those of a table whose first row names its columns become objects."""
    columns: list[str] | None = None
    for number, (line, row) in enumerate(rows):
        if number == 0 and (columns := header_of(row)):
            text.note = "its first row names the columns"
            continue
        yield line, named(row, columns) if columns else row, ""


def _array(text: _Text) -> Iterator[tuple[int, bytes]]:
    text.take(b"[", "this")
    if text.peek() == b"]":
        text.at += 1
        return
    while True:
        yield text.value()
        if text.take(b",]", "a row") == b"]":
            return


def _object(text: _Text) -> Iterator[Row]:
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


def _keys(text: _Text) -> Iterator[bytes]:
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
    text: _Text, members: dict[bytes, bytes], arrays: list[str], columns: list[str] | None
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


class _Text:
    """A window on the document.

    `at` is where reading continues in it; what lies before may be forgotten.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.text, self.at, self.note = source, source.read(_CHUNK), 0, ""
        self._line, self._counted = 1, 0  # line number at `_counted`
        self._before = 0  # bytes of the window's first line that are forgotten

    def more(self) -> bool:
        """Forget what lies before `at` and read on; False at the end of the document."""
        self.here()
        feed = self.text.rfind(b"\n", 0, self.at)
        self._before = self.at - feed - 1 + (self._before if feed < 0 else 0)
        new = self.source.read(max(_CHUNK, len(self.text) - self.at))
        self.text, self.at, self._counted = self.text[self.at :] + new, 0, 0
        return bool(new)

    def here(self) -> tuple[int, int]:
        """Line and column of `at`, from 1; the column counts bytes."""
        self._line += self.text.count(b"\n", self._counted, self.at)
        self._counted = self.at
        feed = self.text.rfind(b"\n", 0, self.at)
        return self._line, self.at - feed + (self._before if feed < 0 else 0)

    def peek(self) -> bytes:
        """Return the next byte that is no blank, empty at the end; `at` moves up to it."""
        while True:
            blanks = _BLANKS.match(self.text, self.at)
            assert blanks is not None
            self.at = blanks.end()
            if self.at < len(self.text):
                return self.text[self.at : self.at + 1]
            if not self.more():
                return b""

    def take(self, wanted: bytes, after: str) -> bytes:
        """Step over the next byte, which must be one of `wanted`."""
        found = self.peek()
        if not found:
            raise self.problem(f"the file ends after {after}")
        if found not in wanted:
            names = " or ".join(f"`{chr(byte)}`" for byte in wanted)
            raise self.problem(f"{names} is missing after {after}")
        self.at += 1
        return found

    def holds_rows(self) -> bool:
        """Tell whether the next value is an array whose first item is an object or an array."""
        if self.peek() != b"[":
            return False
        while True:
            blanks = _BLANKS.match(self.text, self.at + 1)
            assert blanks is not None
            if blanks.end() < len(self.text):
                return self.text[blanks.end()] in b"{["
            if not self.more():
                return False

    def value(self) -> tuple[int, bytes]:
        """Return (line, text) of the next value; `at` moves behind it."""
        self.peek()
        while True:
            end = self._end_of_value()
            if end:
                line, _ = self.here()
                text, self.at = self.text[self.at : end], end
                return line, text
            if len(self.text) - self.at > MAX_ROW_BYTES:
                raise self.problem(
                    "a row of over 16 MiB begins here, or a quote or bracket is never closed"
                )
            if not self.more():
                raise self.problem("the file ends in the middle of the value that begins here")

    def _end_of_value(self) -> int:
        """Find where the value at `at` ends; 0 where more of the document is needed to tell."""
        usual = _USUAL_ROW.match(self.text, self.at)
        if usual:
            return usual.end()
        depth = 0
        for token in _TOKEN.finditer(self.text, self.at):
            first = token[0][:1]
            if token[0] == b'"':
                return 0
            depth += (first in b"{[") - (first in b"}]")
            if depth < 0:
                raise self.problem("a value is missing")
            if depth == 0:
                whole = first in b'"}]' or token.end() < len(self.text)
                return token.end() if whole else 0
        return 0

    def problem(self, what: str) -> DataError:
        """Return a DataError at `at`."""
        line, column = self.here()
        return DataError(f"not valid JSON: {what}", where=f"{self.source.name}:{line}:{column}")
