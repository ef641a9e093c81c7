"""Equal rows in two splits: whatever made them equal, no split is tested on another's rows."""

from __future__ import annotations

from tests.data.project import Project, read_lines
from tests.data.stages import facts, put_rows, row, with_model


def test_the_same_row_in_train_and_val(project: Project) -> None:
    """Row 31 of the table of faults: counted, and --strict fails."""
    with_model(project)
    put_rows(project, [row("a", "b"), row("c", "d"), row("c", "d")])
    put_rows(project, [row("e", "f"), row("a", "b", row_id="another id")], split="val")
    strict = project.run("render", "--strict")
    assert strict.code == 65
    assert not (project.folder / "data/rendered/train.jsonl").exists()
    done = project.run("render")
    assert done.code == 0, done.said
    assert "1 × equal to a row of an earlier split" in done.said
    assert "data/processed/val.jsonl:2 (another id)" in done.said
    assert "1 × equal to an earlier row of its split" in done.said
    assert "1 × an id that another row has too" in done.said
    folder = project.folder / "data/rendered"
    assert [len(read_lines(folder / f"{split}.jsonl")) for split in ("train", "val")] == [3, 1]
    (aside,) = read_lines(folder / "rejects.jsonl")
    assert (aside["file"], aside["line"], aside["row"]["id"]) == (
        "data/processed/val.jsonl",
        2,
        "another id",
    )
    assert facts(project, "rendered")["rows"] == {"train": 3, "val": 1}
    report = read_lines_json(project)
    assert report["rows"] == {"in": 5, "out": 4, "rejected": 0, "set_aside": 0, "leaked": 1}


def test_a_style_that_makes_rows_equal(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b", system="Be kind.")])
    put_rows(project, [row("a", "b", system="Be short.")], split="test")
    assert project.run("style", "--style", "Rhyme.", "--mode", "replace").code == 0
    done = project.run("render")
    assert done.code == 0
    assert facts(project, "rendered")["leaked"] == 1


def test_many_rows_in_many_blocks(project: Project) -> None:
    with_model(project)
    rows = [row(f"question {n} {'x' * 300}", f"answer {n}") for n in range(6000)]
    put_rows(project, rows)
    put_rows(project, [*rows[::100], row("new", "one")], split="test")
    one = project.run("render", "--set", "data.workers=1")
    assert one.code == 0, one.said
    assert (facts(project, "rendered")["leaked"], facts(project, "rendered")["rows"]["test"]) == (
        60,
        1,
    )
    before = project.outputs("rendered")
    assert project.run("render", "--set", "data.workers=2").code == 0
    assert project.outputs("rendered") == before


def read_lines_json(project: Project) -> dict[str, dict[str, int]]:
    import json

    found: dict[str, dict[str, int]] = json.loads(
        (project.folder / "data/rendered/report.json").read_bytes()
    )
    return found
