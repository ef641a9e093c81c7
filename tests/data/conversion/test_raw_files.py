"""Splits that raw data brings along: kept, so that nothing held out is trained, or pooled where that is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.data.project import SPLITS, Project, jsonl, questions, read_lines


def splits(project: Project) -> dict[str, set[str]]:
    folder = project.folder / "data/processed"
    return {
        split: {row["messages"][0]["content"] for row in read_lines(folder / f"{split}.jsonl")}
        for split in SPLITS
    }


def asked(rows: list[dict[str, str]]) -> set[str]:
    return {row["question"] for row in rows}


TRAIN, VAL, TEST = questions(60), questions(20, 1000), questions(20, 2000)


def process(project: Project, *sets: str) -> tuple[dict[str, set[str]], str]:
    done = project.run("process", *(word for value in sets for word in ("--set", value)))
    assert done.code == 0, done.said
    return splits(project), done.said


@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("train/a", "dev/a", "test/a"),
        ("my_train", "my-val", "test-00000-of-00001"),
    ],
)
def test_files_and_folders(project: Project, names: tuple[str, str, str]) -> None:
    for name, rows in zip(names, (TRAIN, VAL, TEST), strict=True):
        project.put(f"{name}.jsonl", jsonl(rows))
    found, said = process(project)
    assert found == {"train": asked(TRAIN), "val": asked(VAL), "test": asked(TEST)}
    assert "has test and val rows of its own" in said


def test_pooled_where_that_is_asked_for(project: Project) -> None:
    for name, rows in (("train", TRAIN), ("test", TEST)):
        project.put(f"{name}.jsonl", jsonl(rows))
    found, said = process(project, "data.splits=pool", "data.val_share=0.3", "data.test_share=0.3")
    assert found["test"] != asked(TEST)
    assert "data.splits: pool" in said


def test_top_level_keys(project: Project) -> None:
    project.put("all.json", json.dumps({"train": TRAIN, "validation": VAL, "test": TEST}))
    assert process(project)[0] == {"train": asked(TRAIN), "val": asked(VAL), "test": asked(TEST)}


def test_keys_behind_others_and_behind_many_rows(project: Project) -> None:
    many = questions(3000, 10_000)
    content = {"version": 1, "train": many, "validation": VAL, "license": "mit", "test": TEST}
    project.put("all.json", json.dumps(content))
    assert process(project)[0] == {"train": asked(many), "val": asked(VAL), "test": asked(TEST)}


def test_what_is_missing_is_split_off_train(project: Project) -> None:
    project.put("train.jsonl", jsonl(TRAIN))
    project.put("test.jsonl", jsonl(TEST))
    found, _ = process(project, "data.val_share=0.3", "data.test_share=0.3")
    assert found["test"] == asked(TEST)
    assert found["train"] | found["val"] == asked(TRAIN)
    assert found["val"]


@pytest.mark.parametrize("name", ["train", "test", "validation"])
def test_one_split_alone_is_split_as_ever(project: Project, name: str) -> None:
    project.put(f"{name}.jsonl", jsonl(TRAIN))
    found, said = process(project, "data.val_share=0.3", "data.test_share=0.3")
    assert all(found.values())
    assert "of its own" not in said


def test_a_row_that_is_held_out_too_is_not_trained(project: Project) -> None:
    project.put("train.jsonl", jsonl([*TRAIN, *TEST]))
    project.put("test.jsonl", jsonl(TEST))
    found, said = process(project, "data.val_share=0")
    assert found["train"] == asked(TRAIN)
    assert found["test"] == asked(TEST)
    assert "20 exact duplicates removed" in said


def test_a_saved_dataset_folder(project: Project) -> None:
    from datasets import Dataset, DatasetDict

    saved: Any = DatasetDict({"train": Dataset.from_list(TRAIN), "test": Dataset.from_list(TEST)})
    saved.save_to_disk(str(project.folder / "data/raw"))
    found, said = process(project, "data.val_share=0")
    assert found["train"] == asked(TRAIN)
    assert found["test"] == asked(TEST)
    assert "dataset_dict.json: describes a dataset, holds no rows: left out" in said
