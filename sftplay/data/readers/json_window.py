"""A window that moves over a JSON document and cuts out its values without parsing them, so that
memory does not grow with the document.
"""

from __future__ import annotations

import re

from sftplay.data.readers.piece import MAX_ROW_BYTES
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


class JsonWindow:
    """A window on a document.

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
