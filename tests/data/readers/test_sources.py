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
    assert [str(each) for each in find("raw").skipped] == ["raw/notes.txt: not a data file"]
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


def test_an_empty_folder_of_several_is_named() -> None:
    Path("empty").mkdir()
    assert [str(one) for one in find(["other", "empty"]).skipped] == ["empty: no data files in it"]
    with pytest.raises(DataError, match="empty: no data files"):
        find(["empty", "other"], apart=True)


def skipped(raw: str) -> dict[str, str]:
    return {each.name: each.reason for each in find(raw).skipped}


def test_archives_and_descriptions_are_named_for_what_they_are() -> None:
    for name in (
        "rows.zip",
        "rows.tar.gz",
        "rows.xlsx",
        "dataset_infos.json",
        "state.json",
        "README.md",
    ):
        Path("raw", name).touch()
    found = skipped("raw")
    assert found["raw/rows.zip"] == "an archive: unpack it (unzip rows.zip -d FOLDER)"
    assert found["raw/rows.tar.gz"] == "an archive: unpack it (tar xzf rows.tar.gz)"
    assert "save the sheet as csv" in found["raw/rows.xlsx"]
    assert (
        found["raw/state.json"]
        == found["raw/dataset_infos.json"]
        == "describes a dataset, holds no rows"
    )
    assert names("raw/state.json") == [
        "raw/state.json"
    ]  # somebody's own file of that name, named by himself


def test_links(tmp_path: Path) -> None:
    Path("far/deep").mkdir(parents=True)
    Path("far/deep/rows.jsonl").touch()
    Path("raw/link").symlink_to(tmp_path / "far")
    Path("raw/again").symlink_to(tmp_path / "far")
    Path("far/round").symlink_to(tmp_path / "raw")
    Path("raw/nowhere.jsonl").symlink_to("gone.jsonl")
    assert names("raw").count("raw/again/deep/rows.jsonl") == 1
    assert "raw/link/deep/rows.jsonl" not in names("raw")  # the same folder, read once
    assert skipped("raw")["raw/nowhere.jsonl"] == "a link to gone.jsonl, which is not there"
    with pytest.raises(NotFoundError, match="which is not there"):
        find("raw/nowhere.jsonl")


def test_a_file_of_two_names_is_read_once_and_named(tmp_path: Path) -> None:
    Path("raw/soft.jsonl").symlink_to(tmp_path / "raw/b.jsonl")
    Path("other/hard.jsonl").hardlink_to("raw/b.jsonl")
    assert names(["raw", "other"])[1:] == ["raw/b.jsonl", "raw/sub/c.PARQUET", "other/d.tsv.zst"]
    skipped = {each.name: each.reason for each in find(["raw", "other"]).skipped}
    for name in ("raw/soft.jsonl", "other/hard.jsonl"):
        assert skipped[name] == "the same file as raw/b.jsonl"


@pytest.mark.parametrize(
    ("name", "split"),
    [("train.jsonl", "train"), ("validation.csv", "val"), ("dev.jsonl.gz", "val"), ("data/test-00000-of-00002.parquet", "test"),
     ("gsm8k_test.jsonl", "test"), ("train/data-00000.arrow", "train"), ("valid/x.json", "val"), ("val/train.jsonl", "train"),
     ("rows.jsonl", ""), ("latest.jsonl", ""), ("contest.jsonl", ""), ("train_test.jsonl", "")],
)  # fmt: skip
def test_splits_by_name(name: str, split: str) -> None:
    Path("named", name).parent.mkdir(parents=True, exist_ok=True)
    Path("named", name).touch()
    (file,) = find("named").files
    assert file.split == split
