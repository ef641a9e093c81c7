"""Hashes of what is too large, or too many files, to be read at once: a data file by several
threads, the code of the stages.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sftplay.files import hash_files

BLOCK = 4 << 20
Advance = Callable[[int], None]


def ignore(amount: int) -> None:
    """Nobody counts."""


def code_hash() -> str:
    """`sha256:<hex>` of the code that stages run: the package without its host layer, which no
    image holds.
    """
    package = Path(__file__).parent
    files = (path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "host")
    return hash_files(files, package)


def content_hash(path: Path, advance: Advance = ignore) -> str:
    """`blake2b:<hex>` of a file: BLAKE2b (RFC 7693) over the digests of its 4 MiB blocks, hashed by
    several threads.

    Much faster than SHA-256 where the processor has no instructions for it; data files reach
    gigabytes.
    """
    whole = hashlib.blake2b(digest_size=32)
    with open(path, "rb") as source:
        size = os.fstat(source.fileno()).st_size
        threads = min(8, len(os.sched_getaffinity(0))) if size > 4 * BLOCK else 1

        def digest(offset: int) -> bytes:
            return hashlib.blake2b(
                os.pread(source.fileno(), BLOCK, offset), digest_size=32
            ).digest()

        for start in range(0, size, threads * BLOCK):
            offsets = range(start, min(size, start + threads * BLOCK), BLOCK)
            for block in _by_threads(digest, offsets):
                whole.update(block)
            advance(min(size - start, threads * BLOCK))
    return f"blake2b:{whole.hexdigest()}"


def _by_threads(function: Callable[[int], bytes], items: Sequence[int]) -> list[bytes]:
    """No thread outlives the call: other processes may be forked from this one later."""
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))
