"""Rows that changed since a run was trained: refused before anything is rewritten."""

from __future__ import annotations

from pathlib import Path

from tests.box import Box


def test_rows_of_other_raw_data_are_made_again_from_the_runs_own(run: Path, box: Box) -> None:
    """Its config names data.raw, so a process of something else in between changes no training."""
    project = run.parent.parent
    rows = (project / "data/raw/rows.jsonl").read_text().splitlines(keepends=True)
    (project / "other.jsonl").write_text("".join(rows[:40]))
    ran = box.run("process", "--config", "demo.yaml", "--set", "data.raw=other.jsonl", cwd=project)
    assert ran.code == 0, ran.err
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "nothing is left to do" in ran.err, ran.err
    assert "data.raw 'other.jsonl' → 'data/raw'" in ran.err, ran.err


def test_other_processed_rows_are_refused_before_anything_is_rewritten(run: Path, box: Box) -> None:
    """Where the run cannot tell them by their settings: the same file with other rows in it."""
    project = run.parent.parent
    raw = project / "data/raw/rows.jsonl"
    raw.write_text("".join(raw.read_text().splitlines(keepends=True)[:40]))
    ran = box.run("process", "--config", "demo.yaml", cwd=project)
    assert ran.code == 0, ran.err
    kept = {
        path: path.read_bytes()
        for kind in ("rendered", "tokenized")
        for path in (project / "data" / kind).iterdir()
    }
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 76 and "put data/raw back as it was" in ran.err, ran.err
    assert {path: path.read_bytes() for path in kept} == kept


def test_raw_rows_that_changed_since_are_told_with_what_to_put_back(run: Path, box: Box) -> None:
    project = run.parent.parent
    raw = project / "data/raw/rows.jsonl"
    raw.write_text("".join(raw.read_text().splitlines(keepends=True)[:40]))
    for _ in range(
        2
    ):  # made again by the first, which compares afterwards; the second sees it at once
        ran = box.run("train", "--run", "demo", "--resume", cwd=project)
        assert ran.code == 76, ran.err
        assert (
            "holds other rows of data/raw" in ran.err and "put data/raw back as it was" in ran.err
        ), ran.err
