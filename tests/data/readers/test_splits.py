"""Splits by the card of a dataset folder, as clones of the hub have it."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from sftplay.data.readers.sources import find
from sftplay.data.readers.splits import read_card

CARD = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: rows/a-*
  - split: test
    path:
    - held/b.jsonl
    - held/c.jsonl
- config_name: other
  data_dir: other
  data_files: rows.jsonl
---
# A dataset
"""


def test_files_have_the_split_that_the_card_gives_them(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    card = read_card(tmp_path)
    assert card.configs == ("main", "other")
    names = ("rows/a-1.jsonl", "held/b.jsonl", "other/rows.jsonl", "dev.jsonl", "z.jsonl")
    assert [card.split_of(PurePath(name)) for name in names] == [
        "train",
        "test",
        "train",
        "val",
        "",
    ]


def test_the_files_of_a_folder_with_a_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    for name in ("rows/a-1.jsonl", "held/b.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = find(str(tmp_path))
    assert [file.split for file in found.files] == ["test", "train"]
    assert found.configs == ("main", "other")


@pytest.mark.parametrize("card", ["# no front matter", "---\n: [\n---\n", "---\n- a\n---\n", ""])
def test_a_card_that_says_nothing(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert read_card(tmp_path) == read_card(tmp_path / "gone")
