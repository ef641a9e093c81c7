"""Rows of ids: one beginning of text, and a border between input and target."""

from __future__ import annotations

import pytest

from sftplay.data.tokenizing.artifact import IGNORED
from sftplay.data.tokenizing.tokenizer import load_backend
from sftplay.errors import DataError
from tests.data.models import CHATML, CHATML_NAMED, save_model
from tests.data.project import Project
from tests.data.stages import put_rows, row, run
from tests.data.tokenized import prepared, split


def test_the_border_between_input_and_target_is_between_tokens(project: Project) -> None:
    """The input ends and the target begins with a newline, and two newlines are one token of this
    tokenizer.
    """
    prepared(project, row("a", "\nb"))
    run(project, "tokenize")
    (only,) = split(project)
    newline = load_backend(project.folder / "model").token_to_id("Ċ")
    border = next(n for n, label in enumerate(only["labels"]) if label != IGNORED)
    assert only["input_ids"][border - 1 : border + 1] == [newline, newline]
    whole = load_backend(project.folder / "model").encode("\n\n", add_special_tokens=False).ids
    assert whole != [newline, newline]


def test_two_beginnings_of_text(project: Project) -> None:
    save_model(project.folder / "model", "{{ bos_token }}" + CHATML, CHATML_NAMED)
    (project.folder / "config.yaml").write_text("model: {name: ./model}\n")
    put_rows(project, [row("a", "b", row_id="twice")])
    run(project, "render")
    with pytest.raises(DataError, match="beginning-of-text token twice") as failed:
        run(project, "tokenize")
    assert "(twice)" in failed.value.what
