"""The tokenized artifact: Arrow IPC stream files that both backends train on as they are, and a
hash of their values.

Columns: `id` string, `input_ids` list<int32>, `labels` list<int32> (-100 where nothing is trained).
datasets.Dataset.from_file
maps such a file into memory (format: https://arrow.apache.org/docs/format/Columnar.html, "IPC
Streaming Format").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from sftplay.errors import NotFoundError, StorageError
from sftplay.files import explain_os_error

IGNORED = -100  # the label that a cross-entropy loss leaves out, in torch and everywhere else
SCHEMA = pa.schema(
    [("id", pa.string()), ("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]
)


@dataclass(frozen=True)
class TokenBatch:
    """Some rows: their ids, their lengths in tokens, and the tokens and labels of all of them in
    one array each.

    Attributes:
        lengths: int64 (rows,); tokens, labels: int32 (sum of lengths,).
    """

    ids: Sequence[str]
    lengths: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray


class ValuesHash:
    """SHA-256 over the values of rows, whatever batches they come in and whoever wrote the file.

    It is taken over four digests: of the ids (UTF-8, a newline after each), the lengths (int64),
        the tokens (int32) and the
    labels (int32), all little-endian.
    """

    def __init__(self) -> None:
        self._columns = [hashlib.sha256() for _ in range(4)]

    def add(self, batch: TokenBatch) -> None:
        """Take in the next rows."""
        ids, lengths, tokens, labels = self._columns
        ids.update("".join(f"{row_id}\n" for row_id in batch.ids).encode())
        lengths.update(np.ascontiguousarray(batch.lengths, dtype="<i8").data)
        tokens.update(np.ascontiguousarray(batch.tokens, dtype="<i4").data)
        labels.update(np.ascontiguousarray(batch.labels, dtype="<i4").data)

    def value(self) -> str:
        """Return `sha256:<hex>`."""
        return f"sha256:{hashlib.sha256(b''.join(column.digest() for column in self._columns)).hexdigest()}"


class Writer:
    """Writes one split and keeps count of it."""

    def __init__(self, stream: pyarrow.ipc.RecordBatchStreamWriter) -> None:
        self._stream, self._hash = stream, ValuesHash()
        self.rows = self.tokens = self.trained_tokens = self.longest = self.largest_id = 0

    def write(self, batch: TokenBatch) -> None:
        """Append rows."""
        if not len(batch.lengths):
            return
        offsets = _offsets_of(batch.lengths)
        columns = [_texts(batch.ids), _lists(offsets, batch.tokens), _lists(offsets, batch.labels)]
        self._stream.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._hash.add(batch)
        self.rows += len(batch.lengths)
        self.tokens += len(batch.tokens)
        self.trained_tokens += int(np.count_nonzero(batch.labels != IGNORED))
        self.longest = max(self.longest, int(batch.lengths.max()))
        self.largest_id = max(self.largest_id, int(batch.tokens.max(initial=0)))

    @property
    def values_hash(self) -> str:
        """Hash of everything written so far."""
        return self._hash.value()


# Columns are made of their buffers: pyarrow.array() would import pandas for them, which takes a
# second.


def _offsets_of(lengths: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))


def _lists(offsets: pa.Buffer, values: np.ndarray) -> pa.ListArray:
    flat = pa.Array.from_buffers(
        pa.int32(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int32))]
    )
    count = offsets.size // 4 - 1
    return pa.Array.from_buffers(pa.list_(pa.int32()), count, [None, offsets], children=[flat])


def _texts(texts: Sequence[str]) -> pa.StringArray:
    encoded = [text.encode("utf-8") for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return pa.StringArray.from_buffers(
        len(texts), _offsets_of(lengths), pa.py_buffer(b"".join(encoded))
    )


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Open a new split for writing."""
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, SCHEMA) as stream:
        yield Writer(stream)


def read_split(path: Path) -> pa.Table:
    """Return a split, mapped into memory.

    Raises:
        NotFoundError: no such file (66). StorageError: not an Arrow stream of ours (74).
    """
    if not path.is_file():
        raise NotFoundError("no such split", where=str(path), todo="make it: inv tokenize")
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            table = stream.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise explain_os_error(error, path) from error
        raise StorageError(
            f"damaged ({error})", where=str(path), todo="make it again: inv tokenize"
        ) from error
    if table.schema != SCHEMA:
        raise StorageError(
            "not a tokenized split", where=str(path), todo="make it again: inv tokenize"
        )
    return table


def batches_of(table: pa.Table) -> Iterator[TokenBatch]:
    """Yield a split's rows as numpy arrays."""
    for part in table.to_batches():
        tokens, labels = part.column("input_ids"), part.column("labels")
        yield TokenBatch(
            part.column("id").to_pylist(),
            np.diff(tokens.offsets.to_numpy()).astype(np.int64),
            tokens.flatten().to_numpy(),
            labels.flatten().to_numpy(),
        )


def values_hash(path: Path) -> str:
    """Return the hash of a split's values, computed again from its file; the stamp holds the one of
    the time of writing.
    """
    found = ValuesHash()
    for batch in batches_of(read_split(path)):
        found.add(batch)
    return found.value()
