"""Sketches of rows: the set of a row's word triples, and a short vector that stands for it."""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from sftplay.data.near_duplicates.sample import Lines

if TYPE_CHECKING:
    from numpy import uint32
    from numpy.typing import NDArray

SLOTS = 64  # numbers of a sketch
_SEED = 1
_PLAIN = str.maketrans(dict.fromkeys("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " "))
# Scripts without blanks: each character is a word.
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


@dataclass(frozen=True)
class SketchedRows:
    """Rows of a block that are looked at.

    Attributes:
        at: where their lines begin in the file.
        sketches: uint32 (rows, SLOTS).
        triples: hashes of their word triples one row after the other, uint32; counts: how many each
            has.
    """

    file: int
    size: int
    at: array[int]
    sketches: NDArray[uint32]
    triples: NDArray[uint32]
    counts: NDArray[Any]


def sketch(some: Lines) -> SketchedRows:
    """Return the sketches of the rows in some lines; runs in a worker."""
    return SketchedRows(
        some.file, some.size, some.at, *_sketches([words_of(text_of(line)) for line in some.lines])
    )


def _sketches(rows: list[list[str]]) -> tuple[NDArray[uint32], NDArray[uint32], NDArray[Any]]:
    """Return sketches of the word triples of some rows, and the triples themselves, hashed from the
    hashes of their words.
    """
    import numpy

    os.environ["RAYON_NUM_THREADS"] = (
        "1"  # of this worker: rensa would start a thread for each core in every one
    )
    from rensa import RMinHash

    if not rows:
        return (
            numpy.zeros((0, SLOTS), numpy.uint32),
            numpy.zeros(0, numpy.uint32),
            numpy.zeros(0, numpy.int64),
        )
    hashes = RMinHash.hash_token_sets(rows)
    lengths = numpy.fromiter(map(len, hashes), numpy.int64, len(hashes))
    flat = numpy.fromiter(chain.from_iterable(hashes), numpy.uint64, int(lengths.sum()))
    triples = (
        flat[:-2] * numpy.uint64(0x9E3779B97F4A7C15)
        + flat[1:-1] * numpy.uint64(0xC2B2AE3D27D4EB4F)
        + flat[2:]
    )
    triples ^= triples >> numpy.uint64(29)
    inside = numpy.ones(len(flat), bool)
    ends = numpy.cumsum(lengths)
    inside[ends - 1] = inside[ends - 2] = (
        False  # a triple that begins there would reach into the next row
    )
    triples = triples[inside[:-2]]
    borders = numpy.concatenate(([0], numpy.cumsum(lengths - 2))).astype(numpy.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(triples, borders, SLOTS, _SEED)
    small = (triples >> numpy.uint64(32)).astype(numpy.uint32)
    return numpy.array(matrix.to_rows(), numpy.uint32), small, lengths - 2


def text_of(line: bytes) -> str:
    """Return what rows are compared by: the texts of all turns but the system's, in lower case."""
    return "\n".join(
        turn["content"] for turn in orjson.loads(line)["messages"] if turn["role"] != "system"
    ).lower()


def words_of(text: str) -> list[str]:
    """Return the words of a text, three at least."""
    words = text.translate(_PLAIN).split() if text.isascii() else _WORD.findall(text)
    return words if len(words) > 2 else [*words, "", "", ""][:3]
