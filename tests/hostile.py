"""What a container can leave in the place of a file: each kind is a function that writes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

SECRET = "the user's own secret"


def replace(path: Path, kind: str) -> None:
    """Put a hostile kind in the place of a file, or of a missing one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path)


def _holding(content: str | bytes) -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content

    def write(path: Path) -> None:
        path.write_bytes(raw)

    return write


def _sparse(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with open(path, "wb") as out:
            out.write(b"{")
            out.truncate(size)

    return write


def _link_to_a_secret(path: Path) -> None:
    secret = path.absolute().parent.with_name("secret.yaml")
    secret.write_text(f"api_key: {SECRET}\n")
    path.symlink_to(secret.absolute())


KINDS: Mapping[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to a file of the user": _link_to_a_secret,
    "dangling link": lambda path: path.symlink_to("/nowhere/at/all"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "empty": _holding(""),
    "cut": _holding('{"step": 3, "loss'),
    "list": _holding("[1, 2, 3]\n"),
    "number": _holding("17\n"),
    "null": _holding("null\n"),
    "other object": _holding('{"a": {"b": []}}\n'),
    "web page": _holding("<!DOCTYPE html><title>404</title>\n"),
    "deep list": _holding("[" * 100_000),
    "deep object": _holding('{"a":' * 500 + "1" + "}" * 500 + "\n"),
    "lone surrogate": _holding('{"state": "\\ud800", "event": "\\udfff"}\n'),
    "integer of 400 digits": _holding(f'{{"step": {"9" * 400}, "steps": {"9" * 400}}}\n'),
    "integer of 5,000 digits": _holding(f'{{"step": {"9" * 5000}}}\n'),
    "not finite": _holding('{"step": NaN, "loss": Infinity, "steps": 1e999}\n'),
    "not UTF-8": _holding(b'{"state": "\xff\xfe"}\n'),
    "100 MB": _sparse(100_000_000),
    "a terabyte": _sparse(10**12),
}
