"""Parquet and Arrow files, a few thousand rows in memory at a time.

Row numbers stand where text files have line numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sftplay.data.readers.piece import PIECE_ROWS, Piece
from sftplay.data.readers.stream import Source
from sftplay.data.readers.table import refuse_equal_names
from sftplay.errors import DataError

Batches = Callable[[Any], Iterator[tuple[Any, int]]]  # (batch, rows in the whole file, 0: unknown)


def read(source: Source, path: Path) -> Iterator[Piece]:
    """Yield pieces of rows as plain Python values.

    Raises:
        DataError: not a parquet file, a damaged one, two columns of one name (65).
    """

    def batches(unpacked: Any) -> Iterator[tuple[Any, int]]:
        from pyarrow import parquet  # 0.3 s, and most files are JSON

        file: Any = parquet.ParquetFile(_seekable(source, path, unpacked), pre_buffer=False)
        refuse_equal_names(file.schema_arrow.names, source.name)
        for batch in file.iter_batches(batch_size=PIECE_ROWS):
            yield batch, file.metadata.num_rows

    yield from _pieces(source, path, "parquet", batches)


def read_arrow(source: Source, path: Path) -> Iterator[Piece]:
    """Yield pieces of an Arrow IPC file, in the stream format (`save_to_disk` of Hugging Face's
    datasets) or the file format (Feather).

    Raises:
        DataError: not an Arrow file, a damaged one, two columns of one name (65).
    """

    def batches(unpacked: Any) -> Iterator[tuple[Any, int]]:
        from pyarrow import ipc, memory_map

        place = _seekable(source, path, unpacked)
        file = memory_map(str(path)) if place == path else place
        if source.head.startswith(b"ARROW1"):
            reader = ipc.open_file(file)
            found = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            found = reader = ipc.open_stream(file)
        refuse_equal_names(reader.schema.names, source.name)
        for batch in found:
            for first in range(0, len(batch), PIECE_ROWS):
                yield batch.slice(first, PIECE_ROWS), 0

    yield from _pieces(source, path, "Arrow", batches)


def _pieces(source: Source, path: Path, kind: str, batches: Batches) -> Iterator[Piece]:
    import pyarrow

    done, used, size = 0, 0, path.stat().st_size
    try:
        with tempfile.TemporaryFile() as unpacked:
            for batch, total in batches(unpacked):
                rows = batch.to_pylist()
                share = size * (done + len(rows)) // total if total else 0
                yield Piece(share - used, values=tuple(enumerate(rows, done + 1)))
                done, used = done + len(rows), share
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise _damaged(source.name, kind, str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(source.name, kind, str(error)) from None  # a page that can't be read


def _seekable(source: Source, path: Path, unpacked: Any) -> Any:
    """Open for seeking: a parquet file is read from its end, so one that is packed once more is
    unpacked first.
    """
    if source.compression == "none":
        return path
    while block := source.read(1 << 20):
        unpacked.write(block)
    unpacked.seek(0)
    return unpacked


def _damaged(name: str, kind: str, said: str) -> DataError:
    first = said.strip().splitlines()[0][:200] if said.strip() else "no reason given"
    return DataError(
        f"not a readable {kind} file: {first}", where=name, todo="fetch or write the file again"
    )
