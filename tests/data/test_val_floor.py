"""A val split gets 20 rows where the data has 200, and says so."""

from __future__ import annotations

import pytest

from tests.data.project import Project, jsonl, questions


def words(count: int) -> list[dict[str, str]]:
    """Rows that are not alike."""
    return [
        {"question": " ".join(f"w{n}x{place}" for place in range(9)), "answer": f"a{n}"}
        for n in range(count)
    ]


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
