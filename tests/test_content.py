"""Hashes of content: the same for the same bytes, computed by threads."""

import os
from pathlib import Path

from sftplay import content


def test_content_hash_depends_on_content_alone(tmp_path: Path) -> None:
    big = os.urandom(content.BLOCK) * 5 + b"x"  # several blocks: hashed by threads
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(big)
    (tmp_path / "c").write_bytes(big[:-1])
    a, b, c = (content.content_hash(tmp_path / name) for name in "abc")
    assert a == b != c
    assert a.startswith("blake2b:")
