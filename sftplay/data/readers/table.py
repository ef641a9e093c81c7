"""csv and tsv: the first line names the columns; quoting is taken strictly, so a lost quote can't
swallow rows unseen.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from sftplay.console import count_of
from sftplay.data.formats.known_formats import names_columns
from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, PIECE_ROWS, Piece, not_utf8
from sftplay.data.readers.stream import Source, refuse_cr_only
from sftplay.data.rejects import BadRowError, Reject, reject
from sftplay.errors import DataError

_SAMPLE, _SAMPLED = 16 << 10, 20  # bytes and records that decide about delimiter and header
_SEP_LINE = re.compile(rb"sep=([,;|\t])\r?\n", re.IGNORECASE)
_SPOKEN = {"\t": "tab"}


def read(source: Source, *, tabs: bool) -> Iterator[Piece]:
    """Yield pieces of rows as objects of texts. Without `tabs` the delimiter is the one that fits
    the first records. A first line `sep=;`, as Excel writes it, names it. A title above the header
    is left out and noted.

    Raises:
        DataError: broken quoting, bytes that are not UTF-8, a column named twice (65).
    """
    refuse_cr_only(source.head, source.name)
    csv.field_size_limit(MAX_ROW_BYTES)
    said = _SEP_LINE.match(source.head)
    delimiter = "\t" if tabs else said[1].decode() if said else delimiter_of(source.head)
    above = 1 if said else _lines_above_header(source.head, delimiter)
    records = csv.reader(_lines(source), delimiter=delimiter, strict=True)
    columns, begins, size = None, 1, 0
    values: list[tuple[int, dict[str, str]]] = []
    rejects: list[Reject] = []
    while True:
        try:
            record = next(records, None)
        except csv.Error as error:
            raise _broken(error, f"{source.name}:{begins}") from None
        if record is None:
            break
        if begins <= above:
            pass
        elif record and columns is None:
            columns = _columns(record, source.name, begins)
        elif record and columns is not None:
            if len(record) == len(columns):
                values.append((begins, dict(zip(columns, record, strict=True))))
                size += sum(map(len, record))
            else:
                bad = BadRowError(
                    "wrong number of columns", f"{len(record)}, the header has {len(columns)}"
                )
                rejects.append(reject(begins, bad, None, record))
        begins = records.line_num + 1
        if size > PIECE_BYTES or len(values) + len(rejects) >= PIECE_ROWS:
            yield Piece(source.used(), values=tuple(values), rejects=tuple(rejects))
            values, rejects, size = [], [], 0
    named = "" if tabs or delimiter == "," else f"delimiter {_SPOKEN.get(delimiter, delimiter)}"
    skipped = f"{count_of(above, 'line')} above the header left out" if above and not said else ""
    note = ", ".join(filter(None, (named, skipped)))
    yield Piece(source.used(), values=tuple(values), rejects=tuple(rejects), note=note)


def delimiter_of(head: bytes) -> str:
    """Return the delimiter that splits the first records into most columns, equally many in most
    of them; a comma where none does.
    """
    best, most = ",", (0, 1)
    for mark in (",", ";", "\t", "|"):
        counts = [len(record) for _, record in _first_records(head, mark) if record]
        if not counts or counts[-1] == 1:
            continue
        equal = counts.count(counts[-1])
        if 2 * equal > len(counts) and (equal, counts[-1]) > most:
            best, most = mark, (equal, counts[-1])
    return best


def _first_records(head: bytes, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return (line, record) of the first records."""
    lines = [line + "\n" for line in head[:_SAMPLE].decode("utf-8", "replace").split("\n")]
    if len(head) >= _SAMPLE:
        del lines[-1]  # cut off
    records = csv.reader(lines, delimiter=delimiter)
    found, begins = [], 1
    try:
        for record in records:
            found.append((begins, record))
            begins = records.line_num + 1
            if len(found) == _SAMPLED:
                break
    except csv.Error:
        pass  # reading the file will say where
    return found


def _lines_above_header(head: bytes, delimiter: str) -> int:
    """Count the lines above the header: where the first record names no columns, and a later one
    names columns that are known.
    """
    records = _first_records(head, delimiter)
    if records and len(records[0][1]) > 1 and all(name.strip() for name in records[0][1]):
        return 0
    for begins, record in records:
        if len(record) > 1 and names_columns(record):
            return begins - 1
    return 0


def refuse_equal_names(columns: Sequence[str], name: str, line: int = 0) -> None:
    """Raise DataError (65) where two columns have one name."""
    twice = next((column for column, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        where = f"{name}:{line}" if line else name
        raise DataError(f"two columns are named `{twice}`", where=where, todo="rename one of them")


def _columns(record: list[str], name: str, line: int) -> list[str]:
    columns = [column.strip() for column in record]
    refuse_equal_names(columns, name, line)
    return columns


def _lines(source: Source) -> Iterator[str]:
    """Yield lines as text, line ends kept; a line of over 16 MiB or a byte that is not UTF-8 ends
    the reading.
    """
    line, offset, rest = 1, source.offset, b""
    while True:
        block = source.read(1 << 20)
        lines = (rest + block).split(b"\n")
        rest = lines.pop() if block else b""
        for text in lines:
            if text or block:
                yield _decoded(text + b"\n" if block else text, line, offset, source.name)
            line, offset = line + 1, offset + len(text) + 1
        if not block:
            return
        if len(rest) > MAX_ROW_BYTES:
            raise DataError(
                "a line of over 16 MiB",
                where=f"{source.name}:{line}",
                todo="is it a csv file at all?",
            )


def _decoded(text: bytes, line: int, offset: int, name: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(text[error.start], offset + error.start, f"{name}:{line}") from None


def _broken(error: csv.Error, where: str) -> DataError:
    if "new-line" in str(error):  # the csv module's word for a CR between two others
        return DataError(
            "a field without quotes holds a carriage return (CR)",
            where=where,
            todo="put the field in quotes, or take the character out: tr -d '\\r' < OLD > NEW",
        )
    return DataError(
        f"broken quoting in the record that begins here ({error})",
        where=where,
        todo='a quote inside a quoted field is written twice (""); a field with quotes, delimiters or line ends is quoted',
    )
