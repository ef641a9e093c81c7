"""Processed rows that can't be read are named."""

from __future__ import annotations

import pytest

from sftplay.errors import DataError
from tests.data.project import Project
from tests.data.stages import put_rows, row, run, with_model


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"messages": [', "not valid JSON"),
        (b"[]", "not a processed row"),
        (b'{"messages": []}', "id or messages"),
        (b'{"messages": [{"role": "user", "content": ["part"]}], "id": "x"}', "text as content"),
        (b'{"messages": ["hi"], "id": "x"}', "text as content"),
    ],
)
def test_a_line_that_is_no_row_is_named(project: Project, line: bytes, says: str) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    with open(project.folder / "data/processed/train.jsonl", "ab") as out:
        out.write(b"\n" + line + b"\n")
    with pytest.raises(DataError, match=says) as failed:
        run(project, "render")
    assert "data/processed/train.jsonl:3" in failed.value.what
