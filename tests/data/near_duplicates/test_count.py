"""Near duplicates in `process`: counted, kept in one split, left out where that is asked for, or sampled."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from sftplay.data.near_duplicates import sample
from tests.data.near_duplicates.texts import text
from tests.data.project import Project, jsonl, read_lines


def alike(count: int) -> list[dict[str, str]]:
    """Rows of which every second one is nearly the one before."""
    chance = random.Random(1)
    texts = [text(chance, 60) for _ in range(count)]
    return [
        {"question": "Say it.", "answer": f"{each}{end}"}
        for each in texts
        for end in ("", " indeed")
    ]


def split_of_each(project: Project) -> dict[str, set[str]]:
    """The splits in which the rows of each group lie, by the words that its rows share."""
    found: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for row in read_lines(project.folder / f"data/processed/{split}.jsonl"):
            words = row["messages"][-1]["content"].removesuffix(" indeed")
            found.setdefault(words, set()).add(split)
    return found


def test_near_duplicates_stay_in_one_split(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(300)))
    done = project.run("process", "--set", "data.val_share=0.2", "--set", "data.test_share=0.2")
    assert done.code == 0, done.said
    groups = split_of_each(project)
    assert len(groups) == 300
    assert all(len(splits) == 1 for splits in groups.values())
    counts = Counter(split for splits in groups.values() for split in splits)
    assert 40 < counts["val"] < 80  # of 300 groups, by a hash: 60 are expected
    assert 40 < counts["test"] < 80
    report = project.report()
    assert report["splits"] == {split: 2 * counts[split] for split in ("train", "val", "test")}
    assert report["near_duplicates"]["across_splits"] == 0
    assert report["near_duplicates"]["found"] == 300
    moved = report["near_duplicates"]["moved"]
    assert f"300 near duplicates, 0 of them across splits; {moved} rows moved" in done.said
    again = project.outputs()
    project.put("qa.jsonl", jsonl(reversed(alike(300))))
    assert (
        project.run("process", "--set", "data.val_share=0.2", "--set", "data.test_share=0.2").code
        == 0
    )
    assert split_of_each(project) == groups
    assert set(again) == set(project.outputs())


def test_rows_that_are_all_alike_stay_where_they_are(project: Project) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    project.put(
        "qa.jsonl", jsonl([{"question": f"{words} {n}", "answer": "yes"} for n in range(300)])
    )
    done = project.run("process")
    assert done.code == 0, done.said
    assert "near_leaks" in {finding["kind"] for finding in project.report()["findings"]}
    assert all(project.report()["splits"].values())


def test_near_duplicates_are_counted_and_kept(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(100)))
    done = project.run("process", "--set", "data.near_duplicates=keep")
    assert done.code == 0, done.said
    report = project.report()
    assert (
        report["rows"]["out"],
        report["near_duplicates"]["found"],
        report["near_duplicates"]["dropped"],
    ) == (
        200,
        100,
        0,
    )
    across = report["near_duplicates"]["across_splits"]
    assert 1 <= across <= 40
    assert f"100 near duplicates, {across} of them across splits" in done.said
    assert "--set data.near_duplicates=drop" in done.said
    assert {"near_duplicates", "near_leaks"} <= {finding["kind"] for finding in report["findings"]}


@pytest.mark.parametrize("setting", ["keep", "group"])
def test_examples_are_named_by_file_and_line(project: Project, setting: str) -> None:
    """Where the rows lie at the end: groups are moved, and val is filled up to 20 rows."""
    project.put("qa.jsonl", jsonl(alike(150)))
    done = project.run("process", "--set", f"data.near_duplicates={setting}")
    assert done.code == 0, done.said
    kinds = ("near_duplicates", "near_leaks")
    findings = [one for one in project.report()["findings"] if one["kind"] in kinds]
    assert findings
    for place in (place for finding in findings for place in finding["rows"]):
        pair = re.fullmatch(r"(\S+):(\d+) \((\S+)\) like (\S+):(\d+) \((\S+)\)", place)
        assert pair, place
        texts = set()
        for path, line, row_id in (pair.group(1, 2, 3), pair.group(4, 5, 6)):
            row = read_lines(project.folder / path)[int(line) - 1]
            assert row["id"] == row_id
            texts.add(row["messages"][-1]["content"].removesuffix(" indeed"))
        assert len(texts) == 1
    assert "data/processed/" in done.said


def test_near_duplicates_are_left_out_where_that_is_asked_for(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(100)))
    done = project.run("process", "--set", "data.near_duplicates=drop")
    assert done.code == 0, done.said
    report = project.report()
    assert report["rows"] == {
        "in": 200,
        "out": 100,
        "rejected": 0,
        "duplicates": 0,
        "near_duplicates": 100,
    }
    answers = [row["messages"][-1]["content"].removesuffix(" indeed") for row in project.rows()]
    assert len(answers) == len(set(answers)) == 100
    assert sum(report["splits"].values()) == 100
    assert sum(count for *_, count in report["character_counts"]["answer"]) == 100
    again = project.run("process", "--set", "data.near_duplicates=drop", "--set", "data.workers=2")
    assert again.code == 0
    assert project.report() == report


def test_a_sample_says_that_it_is_one(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(300)))

    def fewer() -> None:
        sample.SAMPLE = 200  # in the fork that runs the command

    assert project.run("process", first=fewer).code == 0
    found = project.report()["near_duplicates"]
    assert 150 < found["looked_at"] < 250
    assert "chosen by their ids" in found["why"]
    assert project.report()["rows"]["out"] == 600
