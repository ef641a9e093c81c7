"""Parquet by row groups, a few thousand rows in memory at a time.

Row numbers stand where text files have line numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftplay.data.readers.piece import PIECE_ROWS, Piece
from sftplay.data.readers.stream import Source
from sftplay.errors import DataError


def read(source: Source, path: Path) -> Iterator[Piece]:
    """Yield pieces of rows as plain Python values.

    Raises:
        DataError: not a parquet file, or a damaged one (65).
    """
    import pyarrow  # 0.3 s, and most files are JSON
    from pyarrow import parquet

    try:
        with tempfile.TemporaryFile() as unpacked:
            file: Any = parquet.ParquetFile(_seekable(source, path, unpacked), pre_buffer=False)
            total, done, used = file.metadata.num_rows, 0, 0
            size = path.stat().st_size
            for batch in file.iter_batches(batch_size=PIECE_ROWS):
                rows = batch.to_pylist()
                share = size * (done + len(rows)) // max(total, 1)
                yield Piece(share - used, values=tuple(enumerate(rows, done + 1)))
                done, used = done + len(rows), share
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise _damaged(source.name, str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(
            source.name, str(error)
        ) from None  # Arrow's word for a page that can't be read


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


def _damaged(name: str, said: str) -> DataError:
    first = said.strip().splitlines()[0][:200] if said.strip() else "no reason given"
    return DataError(
        f"not a readable parquet file: {first}", where=name, todo="fetch or write the file again"
    )
