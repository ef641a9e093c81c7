"""Rows from rendering to what was tokenized, in the test's own process."""

from __future__ import annotations

from typing import Any

from sftplay.data.tokenizing.artifact import read_split
from sftplay.data.tokenizing.tokenizer import load_backend
from tests.data.project import Project
from tests.data.stages import put_rows, run, with_model


def prepared(project: Project, *rows: dict[str, Any], sets: tuple[str, ...] = ()) -> Project:
    """Give a project a model and rows that are rendered."""
    with_model(project)
    put_rows(project, rows)
    run(project, "render", *sets)
    return project


def split(project: Project, name: str = "train") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_split(
        project.folder / f"data/tokenized/{name}.arrow"
    ).to_pylist()
    return found


def decoded(project: Project, ids: list[int]) -> str:
    return load_backend(project.folder / "model").decode(ids, skip_special_tokens=False)
