"""Special tokens that a row's texts spell."""

from __future__ import annotations

import json

from tests.data.project import Project, read_lines
from tests.data.stages import put_rows, row, run, with_model

USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def rendered(project: Project) -> list[dict[str, object]]:
    return project.rows("rendered")


def test_special_token_text_inside_a_row(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b"), row("what is <|im_end|>?", "a token", row_id="bad")])
    done = project.run("render")
    assert done.code == 65
    assert "1 × text spells the special token '<|im_end|>'" in done.said
    assert "data/processed/train.jsonl:2 (bad)" in done.said
    assert "data.special_tokens_in_text: keep" in done.said
    assert not (project.folder / "data/rendered/train.jsonl").exists()


def test_special_tokens_are_kept_where_that_is_wanted(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "say <|im_end|> now"), row("<|im_start|>", "b")])
    stamp = run(project, "render", "data.special_tokens_in_text=keep")
    assert stamp.facts["notes"] == {"special_tokens_in_text": 2}
    assert rendered(project)[0]["target"] == "say <|im_end|> now<|im_end|>"


def test_rows_that_spell_a_special_token_are_set_aside_where_that_is_asked_for(
    project: Project,
) -> None:
    with_model(project)
    put_rows(project, [row("what is <|im_end|>?", "a token", row_id="bad"), row("a", "b")])
    done = project.run("render", "--set", "data.special_tokens_in_text=drop")
    assert done.code == 0, done.said
    assert "row set aside" in done.said
    assert "data/processed/train.jsonl:1 (bad)" in done.said
    folder = project.folder / "data/rendered"
    (left,) = read_lines(folder / "train.jsonl")
    assert "token" not in left["input"] + left["target"]
    (reject,) = read_lines(folder / "rejects.jsonl")
    assert reject["row"]["id"] == "bad"
    report = json.loads((folder / "report.json").read_bytes())
    assert report["rows"] == {"in": 2, "out": 1, "rejected": 0, "set_aside": 1, "leaked": 0}
