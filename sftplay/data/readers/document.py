"""One JSON document: an array of rows, an object that holds such arrays (`{"data": [...]}`), or a
single row.

The document is cut into the texts of its rows without being parsed as a whole, so memory does not
grow with it; each text is then parsed as a JSON Lines row would be. Brackets and strings out of
balance are a fault of the file (65); whatever is wrong inside a row is the row's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sftplay.data.formats.detect import MESSAGE_KEYS
from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, PIECE_ROWS, Piece
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
_OF_ONE_ROW = frozenset(
    {*MESSAGE_KEYS, "prompt", "completion", "tools"}
)  # arrays under these keys belong to a row


def read(source: Source) -> Iterator[Piece]:
    """Yield pieces of row texts.

    Raises:
        DataError: not one whole JSON document, with line and column (65).
    """
    text = _Text(source)
    rows: list[tuple[int, bytes]] = []
    size = 0
    for row in _rows(text):
        rows.append(row)
        size += len(row[1])
        if size > PIECE_BYTES or len(rows) >= PIECE_ROWS:
            yield Piece(source.used(), texts=tuple(rows))
            rows, size = [], 0
    if text.peek():
        raise text.problem(
            "something follows its end (several values? then one a line, in a file that ends in .jsonl)"
        )
    yield Piece(source.used(), texts=tuple(rows), note=text.note)


def _rows(text: _Text) -> Iterator[tuple[int, bytes]]:
    first = text.peek()
    if first == b"[":
        yield from _array(text)
    elif first == b"{":
        yield from _object(text)
    elif first:
        raise text.problem("an array or an object is wanted")


def _array(text: _Text) -> Iterator[tuple[int, bytes]]:
    text.take(b"[", "this")
    if text.peek() == b"]":
        text.at += 1
        return
    while True:
        yield text.value()
        if text.take(b",]", "a row") == b"]":
            return


def _object(text: _Text) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of every array of objects or lists in it; where there is none, the object is a
    row itself.
    """
    line, members, arrays = text.here()[0], [], []
    text.take(b"{", "this")
    closed = text.peek() == b"}"
    text.at += closed
    while not closed:
        if text.peek() != b'"':
            raise text.problem("a key in quotes is wanted")
        _, key = text.value()
        text.take(b":", "a key")
        name = key[1:-1].decode("utf-8", "replace")
        if name.lower() not in _OF_ONE_ROW and text.holds_rows():
            arrays.append(name)
            yield from _array(text)
        else:
            members.append(key + b":" + text.value()[1])
            if sum(map(len, members)) > MAX_ROW_BYTES:
                raise text.problem("an object of over 16 MiB without an array of rows")
        closed = text.take(b",}", "a value") == b"}"
    if arrays:
        text.note = f"rows under {', '.join(f'`{name}`' for name in arrays)}"
    else:
        yield line, b"{" + b",".join(members) + b"}"


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
