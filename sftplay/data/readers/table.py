"""csv and tsv: the first line names the columns; quoting is taken strictly, so a lost quote can't
swallow rows unseen.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, PIECE_ROWS, Piece, not_utf8
from sftplay.data.readers.stream import Source, refuse_cr_only
from sftplay.data.rejects import BadRowError, Reject, reject
from sftplay.errors import DataError


def read(source: Source, *, tabs: bool) -> Iterator[Piece]:
    """Yield pieces of rows as objects of texts. Without `tabs` the delimiter is the header's:
    comma, semicolon or tab.

    Raises:
        DataError: broken quoting, bytes that are not UTF-8, a column named twice (65).
    """
    refuse_cr_only(source.head, source.name)
    csv.field_size_limit(MAX_ROW_BYTES)
    delimiter = "\t" if tabs else delimiter_of(source.head.partition(b"\n")[0])
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
        if record and columns is None:
            columns = _columns(record, source.name)
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
    note = (
        ""
        if tabs or delimiter == ","
        else f"delimiter {'tab' if delimiter == chr(9) else delimiter}"
    )
    yield Piece(source.used(), values=tuple(values), rejects=tuple(rejects), note=note)


def delimiter_of(header: bytes) -> str:
    """Return the delimiter that splits the header into most columns; a comma where there is but
    one.
    """
    counts = {mark: header.count(mark.encode()) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark])


def _columns(record: list[str], name: str) -> list[str]:
    twice = next((column for column in record if record.count(column) > 1), None)
    if twice is not None:
        raise DataError(
            f"two columns are named `{twice}`", where=f"{name}:1", todo="rename one of them"
        )
    return [column.strip() for column in record]


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
    return DataError(
        f"broken quoting in the record that begins here ({error})",
        where=where,
        todo='a quote inside a quoted field is written twice (""); a field with quotes, delimiters or line ends is quoted',
    )
