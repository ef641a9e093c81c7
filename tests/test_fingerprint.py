"""Fingerprints of weights: changed by the content, and by nothing else in the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.fingerprint import fingerprint


def make(folder: Path, *, size: int = 1000, name: str = "model.safetensors") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(bytes(size))
    return folder


def test_equal_folders_have_one_fingerprint_whatever_else_is_there(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    (other / "README.md").write_text("A model.")
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize("size", [1000, 10_000_000])
@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_byte_at_either_end_changes_it(tmp_path: Path, size: int, place: int) -> None:
    folder = make(tmp_path / "one", size=size)
    before = fingerprint(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[place] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert fingerprint(folder) != before


def test_names_sizes_and_the_config_change_it(tmp_path: Path) -> None:
    made = [
        make(tmp_path / "one"),
        make(tmp_path / "name", name="other.safetensors"),
        make(tmp_path / "size", size=1001),
        make(tmp_path / "config"),
    ]
    (made[3] / "config.json").write_text('{"a": 1}')
    assert len({fingerprint(folder) for folder in made}) == 4


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "one")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        fingerprint(folder)
