"""Rendered rows in, token ids and labels out: the ids that the model sees at inference, prompt and
then answer.

Each input and each target is tokenized on its own, and the ids are joined: as one string, a newline
that ends an input and one that begins a target would become one token, and the border between what
is trained and what is not would lie inside it. Tokenizers that treat the beginning of a text in its
own way encode rows as wholes (joint).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import orjson

from sftplay.data.blocks import Block
from sftplay.data.findings import Finding, Findings
from sftplay.data.tokenizing.artifact import IGNORED, TokenBatch
from sftplay.data.tokenizing.byte_decode import TokenBytes
from sftplay.data.tokenizing.joint import JointEncoder
from sftplay.data.tokenizing.lost_text import count_lost
from sftplay.data.tokenizing.word_cache import WordCache

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BORDER = Finding(
    "joined_borders",
    "note",
    "as one text, the end of the prompt and the beginning of the answer would share a token: the prompt is encoded as at inference, "
    "and the answer as its continuation",
)
_NO_EOT = Finding(
    "eot_not_trained",
    "fatal",
    "a target does not end with the end-of-turn token",
    "render the rows again: inv render",
)
_DOUBLE_BOS = Finding(
    "double_bos",
    "fatal",
    "a row begins with the beginning-of-text token twice",
    "take it out of the data, or out of the chat template",
)


_NEAR = 24  # characters on each side of a border that decide whether a token reaches over it


@dataclass(frozen=True)
class RowTokenizer:
    """Turns blocks of rendered rows into batches of ids.

    Attributes:
        backend: the fast tokenizer.
        eot_id: id that ends every target.
        bos_id: id that no row may begin with twice; None where there is none.
        token_bytes: the bytes of each token, where they are known.
        words: encodes texts by their words, where the tokenizer is one of that kind.
        joint: encodes rows as wholes, where pieces can't be encoded one by one.
    """

    backend: Tokenizer
    eot_id: int
    bos_id: int | None
    token_bytes: TokenBytes | None = None
    words: WordCache | None = None
    joint: JointEncoder | None = None

    def read(self, block: Block) -> TokenizedBlock:
        """Tokenize every row of a block and check every piece."""
        rows = _Rows()
        findings = Findings()
        for number, line in enumerate(block.lines.split(b"\n"), block.first):
            if line.strip():
                rows.add(line, f"{block.file}:{number}", findings)
        lengths, tokens = self._encode(rows, findings)
        trained = np.array(rows.trained, dtype=bool)
        labels = np.where(np.repeat(trained, lengths), tokens, IGNORED).astype(np.int32)
        row_lengths = (
            np.add.reduceat(lengths, rows.firsts) if rows.firsts else np.zeros(0, np.int64)
        )
        self._check_ends(rows, tokens, lengths, findings)
        self._check_starts(rows, tokens, row_lengths, findings)
        return TokenizedBlock(
            len(block.lines), TokenBatch(rows.ids, row_lengths, tokens, labels), findings
        )

    def _encode(self, rows: _Rows, findings: Findings) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths of all pieces, int64, and their ids, int32; each piece is checked."""
        if self.joint:
            return self._encode_wholes(rows, self.joint, findings)
        encoded: list[bytes | None] = (
            self.words.encode(rows.texts) if self.words else [None] * len(rows.texts)
        )
        left = [piece for piece, ids in enumerate(encoded) if ids is None]
        texts = [rows.texts[piece] for piece in left]
        found = [
            each.ids for each in self.backend.encode_batch_fast(texts, add_special_tokens=False)
        ]
        count_lost(
            self.backend,
            self.token_bytes,
            texts,
            found,
            [rows.place(piece) for piece in left],
            findings,
        )
        for piece, ids in zip(left, found, strict=True):
            encoded[piece] = np.array(ids, np.int32).tobytes()
        for piece in self._joined_borders(rows):
            findings.add(_BORDER, rows.place(piece))
        parts = [ids for ids in encoded if ids is not None]
        return np.fromiter(map(len, parts), np.int64, len(parts)) // 4, np.frombuffer(
            b"".join(parts), np.int32
        )

    def _encode_wholes(
        self, rows: _Rows, joint: JointEncoder, findings: Findings
    ) -> tuple[np.ndarray, np.ndarray]:
        pieces = [
            rows.texts[first:last] for first, last in pairwise([*rows.firsts, len(rows.texts)])
        ]
        ids, fits = joint.encode(pieces)
        for row, fit in enumerate(fits):
            if not fit:
                findings.add(_BORDER, rows.places[row])
        whole_ids = [
            list(chain.from_iterable(ids[first:last]))
            for first, last in pairwise([*rows.firsts, len(ids)])
        ]
        texts = ["".join(row) for row in pieces]
        count_lost(
            self.backend, self.token_bytes, texts, whole_ids, rows.places, findings, edges=True
        )
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return lengths, np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum()))

    def _joined_borders(self, rows: _Rows) -> list[int]:
        """Return the targets whose beginning would share a token with the end of the input before
        it.
        """
        borders: dict[tuple[str, str], list[int]] = {}
        for piece in range(1, len(rows.texts), 2):
            if before := rows.texts[piece - 1][-_NEAR:]:
                after = rows.texts[piece][:_NEAR]
                key = self.words.border(before, after) if self.words else (before, after)
                borders.setdefault(key, []).append(piece)
        if self.words:
            parted = self.words.parts_at(list(borders))
        else:
            texts = [text for before, after in borders for text in (before, after, before + after)]
            ids = [
                each.ids for each in self.backend.encode_batch_fast(texts, add_special_tokens=False)
            ]
            parted = [
                ids[place] + ids[place + 1] == ids[place + 2] for place in range(0, len(ids), 3)
            ]
        return sorted(
            chain.from_iterable(
                of for of, apart in zip(borders.values(), parted, strict=True) if not apart
            )
        )

    def _check_ends(
        self, rows: _Rows, tokens: np.ndarray, lengths: np.ndarray, findings: Findings
    ) -> None:
        last = np.append(tokens, -1)[np.cumsum(lengths) - 1]
        for piece in np.flatnonzero(
            np.array(rows.trained, bool) & ((lengths == 0) | (last != self.eot_id))
        ):
            findings.add(_NO_EOT, rows.place(int(piece)))

    def _check_starts(
        self, rows: _Rows, tokens: np.ndarray, row_lengths: np.ndarray, findings: Findings
    ) -> None:
        if self.bos_id is None:
            return
        starts = np.cumsum(row_lengths) - row_lengths
        long_enough = np.flatnonzero(row_lengths > 1)
        twice = (tokens[starts[long_enough]] == self.bos_id) & (
            tokens[starts[long_enough] + 1] == self.bos_id
        )
        for row in long_enough[twice]:
            findings.add(_DOUBLE_BOS, rows.places[row])


@dataclass(frozen=True)
class TokenizedBlock:
    """The result of one block; `size` is its length in bytes."""

    size: int
    batch: TokenBatch
    findings: Findings


@dataclass
class _Rows:
    """Rows taken apart: one list of pieces, and which piece each row begins with."""

    ids: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)

    def add(self, line: bytes, place: str, findings: Findings) -> None:
        try:
            row = orjson.loads(line)
            pairs = row.get("turns", [row])
            pieces = [text for pair in pairs for text in (pair["input"], pair["target"])]
            if not pieces or not all(isinstance(text, str) for text in (*pieces, row["id"])):
                raise TypeError("texts are missing")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            findings.add(_broken(error), place)
            return
        self.ids.append(row["id"])
        self.places.append(f"{place} ({row['id']})")
        self.firsts.append(len(self.texts))
        self.texts += pieces
        self.trained += [False, True] * len(pairs)

    def place(self, piece: int) -> str:
        """Find where a piece stands."""
        row = int(np.searchsorted(self.firsts, piece, side="right")) - 1
        return self.places[row]


def _broken(error: Exception) -> Finding:
    return Finding(
        "broken",
        "fatal",
        f"not a rendered row ({type(error).__name__}: {error})",
        "render the rows again: inv render",
    )
