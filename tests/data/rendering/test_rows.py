"""Rows that can't be rendered are set aside."""

from __future__ import annotations

import json

import pytest

from sftplay.errors import DataError
from tests.data.models import GEMMA_LIKE, GEMMA_SPECIALS, NAMED
from tests.data.project import Project
from tests.data.stages import put_rows, row, run, with_model

USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def rendered(project: Project) -> list[dict[str, object]]:
    return project.rows("rendered")


def test_a_row_that_the_template_refuses_is_set_aside(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    """Turns that do not alternate: the template's own words, the row in rejects.jsonl, a limit to
    how many.
    """
    with_model(project, GEMMA_LIKE, NAMED, GEMMA_SPECIALS)
    bad = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
        ],
        "id": "bad",
    }
    put_rows(project, [*(row(str(n), "x") for n in range(3)), bad])
    with pytest.raises(DataError, match="1 of 4 rows") as failed:
        run(project, "render")
    assert "Conversation roles must alternate" in failed.value.what
    assert "data.max_reject_share" in failed.value.todo
    path = project.folder / "data/rendered/rejects.jsonl"
    reject = json.loads(path.read_text())
    assert (reject["file"], reject["line"], reject["row"]) == ("data/processed/train.jsonl", 4, bad)
    path.unlink()
    stamp = run(project, "render", "data.max_reject_share=0.25")
    assert stamp.facts["rejected"] == 1
    assert json.loads(path.read_text())["row"] == bad
    assert len(rendered(project)) == 3
    assert "set aside" in capfd.readouterr().err


def test_a_row_without_an_answer_is_set_aside(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a"), *(row(str(n), "x") for n in range(200))])
    assert run(project, "render").facts["rejected"] == 1


def test_turns(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b", "c", "d", row_id="x")])
    run(project, "render", "data.turns=last")
    (only,) = rendered(project)
    assert only["target"] == "d<|im_end|>"
    run(project, "render", "data.turns=unroll")
    assert [(found["id"], found["target"]) for found in rendered(project)] == [
        ("x-1", "b<|im_end|>"),
        ("x-2", "d<|im_end|>"),
    ]
