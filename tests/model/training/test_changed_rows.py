"""Rows that changed since a run was trained: refused before anything is rewritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sftplay.files import hash_json
from tests.box import Box


@pytest.fixture(scope="module")
def begun(tokenized_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """A run with checkpoints of the steps 2 and 4."""
    folder = tmp_path_factory.mktemp("begun") / "project"
    shutil.copytree(tokenized_project, folder)
    ran = box.run("train", "--config", "demo.yaml", "--set", "train.max_steps=4", cwd=folder)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path / "project")
    return tmp_path / "project" / "outputs" / "demo"


def _forge(path: Path, **changes: Any) -> None:
    """As one who knows that there is a hash."""
    value = json.loads(path.read_text())
    del value["hash"]
    value.update(changes)
    path.write_text(json.dumps({**value, "hash": hash_json(value)}))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_other_processed_rows_are_refused_before_anything_is_rewritten(run: Path, box: Box) -> None:
    project = run.parent.parent
    kept = {
        path: path.read_bytes()
        for kind in ("rendered", "tokenized")
        for path in (project / "data" / kind).iterdir()
    }
    rows = (project / "data/raw/rows.jsonl").read_text().splitlines(keepends=True)
    (project / "other.jsonl").write_text("".join(rows[:40]))
    ran = box.run("process", "--config", "demo.yaml", "--set", "data.raw=other.jsonl", cwd=project)
    assert ran.code == 0, ran.err
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 76, ran.err
    assert (
        "data/processed is made of other.jsonl now; this run was trained on rows of data/raw"
        in ran.err
    ), ran.err
    assert "inv process --config outputs/demo/config.yaml, then the same command" in ran.err
    assert {path: path.read_bytes() for path in kept} == kept
    ran = box.run("process", "--config", "outputs/demo/config.yaml", cwd=project)  # what it says
    assert ran.code == 0, ran.err
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "nothing is left to do" in ran.err, ran.err


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
