"""Entries of data.raw that are datasets of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.rawdata import HubDataset, hub_dataset


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine/rows").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("entry", "dataset"),
    [
        ("openai/gsm8k", HubDataset("openai/gsm8k")),
        ("openai/gsm8k@v1.5", HubDataset("openai/gsm8k", "v1.5")),
        ("openai/gsm8k:main", HubDataset("openai/gsm8k", None, "main")),
        (
            "openai/gsm8k@refs/convert/parquet:main/train*",
            HubDataset("openai/gsm8k", "refs/convert/parquet", "main/train*"),
        ),
    ],
)
def test_a_hub_dataset(entry: str, dataset: HubDataset) -> None:
    assert hub_dataset(entry) == dataset


@pytest.mark.parametrize(
    "entry",
    [
        "data/raw",
        "mine/rows",
        "mine/gone",
        "other/rows.jsonl",
        "other/rows.csv.gz",
        "/a/b",
        "../a/b",
        "a/b/c",
        "a",
    ],
)
def test_a_path(entry: str) -> None:
    assert hub_dataset(entry) is None


def test_a_folder_of_a_dataset_stands_for_all_in_it() -> None:
    assert HubDataset("a/b", None, "main").patterns == ("main/*",)
    assert HubDataset("a/b", None, "main/x.jsonl").patterns == ("main/x.jsonl",)
    assert HubDataset("a/b", None, "*/train-*").patterns == ("*/train-*",)
    assert "*.parquet" in HubDataset("a/b").patterns


def test_each_choice_of_files_has_a_record_of_its_own() -> None:
    every = [
        HubDataset("a/b", revision, part) for revision in (None, "v1") for part in (None, "x", "y")
    ]
    assert len({dataset.record for dataset in every}) == len(every)
