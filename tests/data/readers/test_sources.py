"""data.raw: folders, files, globs and lists of them, each file once, in a fixed order."""

import os
from pathlib import Path

import pytest

from sftplay.data.readers.sources import find
from sftplay.errors import DataError, NotFoundError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "raw/b.jsonl",
        "raw/a.csv.gz",
        "raw/sub/c.PARQUET",
        "raw/.hidden.json",
        "raw/notes.txt",
        "other/d.tsv.zst",
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def names(raw: str | list[str]) -> list[str]:
    return [file.name for file in find(raw).files]


def test_a_folder_gives_its_data_files_and_names_the_others() -> None:
    assert names("raw") == ["raw/a.csv.gz", "raw/b.jsonl", "raw/sub/c.PARQUET"]
    assert find("raw").skipped == ("raw/notes.txt",)
    assert [file.kind for file in find("raw").files] == ["csv", "lines", "parquet"]


def test_files_globs_and_lists(tmp_path: Path) -> None:
    assert names("raw/b.jsonl") == ["raw/b.jsonl"]
    assert names("raw/*.jsonl") == ["raw/b.jsonl"]
    assert names("**/*.zst") == ["other/d.tsv.zst"]
    assert names(["other", "raw/b.jsonl", "raw", str(tmp_path / "raw/b.jsonl")]) == [
        "other/d.tsv.zst",
        "raw/b.jsonl",
        "raw/a.csv.gz",
        "raw/sub/c.PARQUET",
    ]
    assert names(f"{tmp_path}/raw/*.jsonl") == [f"{tmp_path}/raw/b.jsonl"]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("gone", NotFoundError),
        ("raw/gone.jsonl", NotFoundError),
        ("data/raw", NotFoundError),  # looks like a hub id, and is not one
        ("raw/*.tsv", NotFoundError),
        ("raw/notes.txt", DataError),
        ("owner/dataset", NotFoundError),
        (["raw", "gone"], NotFoundError),
    ],
)
def test_what_is_not_there(raw: str | list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        find(raw)


def test_names_in_another_encoding_are_escaped() -> None:
    Path(os.fsdecode(b"other/caf\xe9.jsonl")).touch()
    assert names("other") == ["other/caf\\udce9.jsonl", "other/d.tsv.zst"]


def test_an_empty_folder_says_what_to_do() -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError) as caught:
        find("empty")
    assert "put your file into empty" in caught.value.todo
