"""A val split gets 20 rows where the data has 200, and says so."""

from __future__ import annotations

import pytest

from tests.data.project import SPLITS, Project, jsonl, questions


def words(count: int) -> list[dict[str, str]]:
    """Rows that are not alike, all of one length."""
    return [
        {"question": " ".join(f"w{n:03}x{place:02}" for place in range(30)), "answer": f"a{n:03}"}
        for n in range(count)
    ]


def alike(row: dict[str, str]) -> dict[str, str]:
    """Return a row with another first word."""
    return {**row, "question": f"again{row['question'][5:]}"}


@pytest.mark.parametrize(
    ("count", "share", "val"), [(200, 0.05, 20), (250, 0.01, 20), (199, 0.01, 3)]
)
def test_the_floor(project: Project, count: int, share: float, val: int) -> None:
    project.put("a.jsonl", jsonl(words(count)))
    done = project.run("process", "--set", f"data.val_share={share}")
    assert done.code == 0, done.said
    splits = project.report()["splits"]
    assert sum(splits.values()) == len(project.rows()) == count
    assert splits["val"] == val if count >= 200 else splits["val"] <= val
    assert ("raised to 20" in done.said) == (count >= 200)
    ids = [row["id"] for row in project.rows()]
    assert len(set(ids)) == count


def test_the_rows_are_those_of_a_larger_share(project: Project) -> None:
    """By ids alone: the lowest ones behind those of test."""
    project.put("a.jsonl", jsonl(words(300)))
    assert project.run("process", "--set", "data.val_share=0.01").code == 0
    rows = project.outputs()
    val = {line[-18:-2] for line in rows["val.jsonl"].splitlines()}
    train = {line[-18:-2] for line in rows["train.jsonl"].splitlines()}
    assert len(val) == 20
    assert max(val) < min(train)


def test_no_floor_where_it_is_not_wanted(project: Project) -> None:
    project.put("train.jsonl", jsonl(words(300)))
    assert project.run("process", "--set", "data.val_share=0").code == 0
    assert project.report()["splits"]["val"] == 0
    project.put("val.jsonl", jsonl(questions(5)))
    assert project.run("process").code == 0
    assert project.report()["splits"]["val"] == 5


def test_dropped_near_duplicates_change_nothing(project: Project) -> None:
    """The rows that stay lie where they lie if the dropped ones were never there."""

    def answers() -> dict[str, list[str]]:
        return {
            split: sorted(row["messages"][1]["content"] for row in project.rows_of(split))
            for split in SPLITS
        }

    rows = words(300)
    project.put("a.jsonl", jsonl([*rows, *map(alike, rows[::3])]))
    options = ("--set", "data.val_share=0.01", "--set", "data.near_duplicates=drop")
    assert project.run("process", *options).code == 0
    assert project.report()["near_duplicates"]["dropped"] == 100
    kept = answers()
    stayed = [{"messages": row["messages"]} for row in project.rows()]
    project.put("a.jsonl", jsonl(stayed))
    assert project.run("process", *options).code == 0
    assert project.report()["near_duplicates"]["dropped"] == 0
    assert answers() == kept


def test_groups_that_moved_before_stay_together(project: Project) -> None:
    rows = words(300)
    for number, row in enumerate(rows):
        row["answer"] += " and so on" * (number % 7)
    project.put("a.jsonl", jsonl([*rows, *map(alike, rows[::4])]))
    assert (
        project.run("process", "--set", "data.val_share=0.02", "--set", "data.test_share=0.2").code
        == 0
    )
    assert project.report()["near_duplicates"]["moved"]
    where: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in project.rows_of(split):
            where.setdefault(row["messages"][1]["content"], set()).add(split)
    assert {answer: splits for answer, splits in where.items() if len(splits) > 1} == {}
