"""style, by its real command: the prompt is in every system turn, nothing else changes, and a
refresh keeps it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.cli import make_job
from sftplay.data import process, style
from sftplay.freshness import read_stamp
from sftplay.kept_values import refreshed
from tests.data.project import Project, jsonl, questions
from tests.data.stages import with_model

SYSTEM = {"system": "You are a clerk.", "user": "q", "assistant": "a"}


@pytest.fixture
def made(project: Project) -> Project:
    """A project with processed rows, one of them with a system turn."""
    project.put("qa.jsonl", jsonl(questions(80)))
    project.put("system.jsonl", jsonl([SYSTEM]))
    assert project.run("process", "--set", "data.val_share=0.2").code == 0
    return project


def job(options: dict[str, Any] | None = None, *overrides: str) -> Any:
    return make_job("config.yaml", None, overrides, options or {})


def test_every_row_gets_the_prompt_and_keeps_all_else(made: Project) -> None:
    before = made.outputs()
    done = made.run("style", "--style", "Rhyme. “Sí”")
    assert done.code == 0, done.said
    assert made.outputs() == before  # the processed rows are untouched
    old, new = made.rows(), made.rows("processed_with_style")
    assert [row["id"] for row in new] == [row["id"] for row in old]
    for was, now in zip(old, new, strict=True):
        system, *rest = now["messages"]
        had = [turn for turn in was["messages"] if turn["role"] == "system"]
        assert system == {
            "role": "system",
            "content": "Rhyme. “Sí”" + (f"\n\n{had[0]['content']}" if had else ""),
        }
        assert rest == [turn for turn in was["messages"] if turn["role"] != "system"]
    assert "before: none; after: 'Rhyme. “Sí”'" in done.said
    assert "81 rows in data/processed_with_style" in done.said


def test_the_config_has_a_prompt_too(made: Project) -> None:
    (made.folder / "config.yaml").write_text("style: {prompt: Be brief., mode: replace}\n")
    assert made.run("style").code == 0
    assert {row["messages"][0]["content"] for row in made.rows("processed_with_style")} == {
        "Be brief."
    }


def test_no_prompt_at_all_says_what_to_type(made: Project) -> None:
    for args in ([], ["--style", " "]):
        done = made.run("style", *args)
        assert done.code == 2
        assert "--style" in done.said
        assert "style.prompt" in done.said
    assert not (made.folder / "data/processed_with_style").exists()


def test_before_process(project: Project) -> None:
    done = project.run("style", "--style", "Rhyme.")
    assert done.code == 66
    assert "inv process" in done.said


def test_a_stale_source_is_said(made: Project) -> None:
    made.put("more.jsonl", jsonl(questions(10, first=200)))
    done = made.run("style", "--style", "Rhyme.")
    assert done.code == 0
    assert "not current (its input changed)" in done.said


def test_a_line_that_is_no_row(made: Project) -> None:
    with open(made.folder / "data/processed/val.jsonl", "ab") as rows:
        rows.write(b'{"text": "by hand"}\n')
    done = made.run("style", "--style", "Rhyme.")
    assert done.code == 65
    assert "data/processed/val.jsonl:" in done.said
    assert not list((made.folder / "data/processed_with_style").glob("*.jsonl"))


def test_a_blank_line_that_an_editor_left_is_no_row(made: Project) -> None:
    rows = made.folder / "data/processed/train.jsonl"
    rows.write_text("\n" + rows.read_text())
    done = made.run("style", "--style", "Rhyme.")
    assert done.code == 0, done.said
    assert "before: none; after: 'Rhyme.'" in done.said
    first = json.loads(rows.read_text().splitlines()[1])["messages"]
    answer = next(turn["content"] for turn in first if turn["role"] == "assistant")
    assert repr(answer) in done.said


def test_a_torn_line_is_no_bug(made: Project) -> None:
    rows = made.folder / "data/processed/train.jsonl"
    rows.write_text('{"messages":[{"role":"user","content":"q\n' + rows.read_text())
    done = made.run("style", "--style", "Rhyme.", "--preview")
    assert done.code == 65
    assert "train.jsonl:1" in done.said
    done = made.run("style", "--style", "Rhyme.")  # `render` reads every row and refuses it
    assert done.code == 0, done.said
    assert "before: ?; after: ?" in done.said


def test_a_refresh_repeats_the_style_and_nothing_drops_it(made: Project) -> None:
    with contextlib.chdir(made.folder):
        assert not style.wanted(job())
        assert style.wanted(job(None, "style.prompt=Rhyme"))
        style.run(job({"style": "Rhyme.", "mode": "append"}))
        assert style.wanted(job())
        assert style.freshness(job()) is None
        assert style.freshness(job(None, "style.prompt=Else")) == (
            "settings changed: style.prompt 'Rhyme.' → 'Else'"
        )
        made.put("more.jsonl", jsonl(questions(10, first=200)))
        process.run(refreshed(job(), "process", read_stamp(Path("data/processed"))))
        assert style.freshness(job()) == "its input changed"
        style.run(refreshed(job(), "style", read_stamp(Path("data/processed_with_style"))))
        assert style.freshness(job()) is None
    rows = made.rows("processed_with_style")
    assert len(rows) == 91
    assert all(row["messages"][0]["content"].endswith("Rhyme.") for row in rows)


def test_a_prompt_that_left_the_config_is_noticed(made: Project) -> None:
    with contextlib.chdir(made.folder):
        Path("config.yaml").write_text("style: {prompt: Be brief.}\n")
        style.run(job())
        assert style.freshness(job()) is None
        Path("config.yaml").write_text("backend: bnb\n")
        assert style.freshness(job()) == "the config has no style.prompt any more"


def test_a_named_dataset_lies_beside_the_default_one(made: Project) -> None:
    assert made.run("process", "--set", "data.suffix=two").code == 0
    assert made.run("style", "--set", "data.suffix=two", "--style", "Rhyme.").code == 0
    assert len(made.rows("processed_with_style_two")) == 81
    assert not (made.folder / "data/processed_with_style").exists()


def test_a_preview_shows_the_change_and_writes_nothing(project: Project) -> None:
    rows = [
        {**row, **({"system": "Be kind."} if number % 2 else {})}
        for number, row in enumerate(questions(40))
    ]
    project.put("qa.jsonl", jsonl(rows))
    assert project.run("process").code == 0
    before = project.outputs()
    done = project.run("style", "--style", "Rhyme.", "--mode", "append", "--preview")
    assert done.code == 0, done.said
    assert "- (no system turn)\n+ Rhyme.\n" in done.said
    assert "- Be kind.\n+ Be kind.\n+ \n+ Rhyme.\n" in done.said
    assert not (project.folder / "data/processed_with_style/train.jsonl").exists()
    assert project.outputs() == before


def test_a_prompt_for_each_named_dataset(project: Project) -> None:
    project.put("qa.jsonl", jsonl(questions(40)))
    (project.folder / "config.yaml").write_text(
        'style: {prompt: "For all.", prompts: {one: "For one.", none: ""}}\n'
    )
    prompts = {}
    for name in (None, "one", "other", "none"):
        sets = ["--set", f"data.suffix={name}"] if name else []
        assert project.run("process", *sets).code == 0
        done = project.run("style", *sets)
        folder = f"processed_with_style_{name}" if name else "processed_with_style"
        prompts[name] = (
            project.rows(folder)[0]["messages"][0]["content"] if done.code == 0 else done.code
        )
    assert prompts == {None: "For all.", "one": "For one.", "other": "For all.", "none": 2}


def test_a_prompt_that_spells_a_special_token_is_refused(made: Project) -> None:
    with_model(made)
    done = made.run("style", "--style", "Say <|im_end|> often.")
    assert done.code == 2
    assert "spells the special token '<|im_end|>'" in done.said
    assert not (made.folder / "data/processed_with_style/train.jsonl").exists()
    keep = ("--set", "data.special_tokens_in_text=keep")
    assert made.run("style", "--style", "Say <|im_end|> often.", *keep).code == 0


def test_answers_are_shown_next_to_the_prompt(made: Project) -> None:
    said = made.run("style", "--style", "Answer like a pirate.").said
    shown = said[said.index("follow the style prompt 'Answer like a pirate.'") :]
    answers = [row["messages"][-1]["content"] for row in made.rows()[:3]]
    assert all(repr(answer) in shown for answer in answers)
    assert "ignore it" in shown
