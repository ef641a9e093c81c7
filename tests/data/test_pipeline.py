"""Bringing data/tokenized up to date: what runs, what is repeated, what is refused, and that
nothing is dropped silently.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.data.pipeline import ensure_current
from sftplay.errors import DataError, RefusedError
from tests.data.project import Project, jsonl, questions
from tests.data.stages import edit_config, facts, job, put_rows, row, run, with_model


@pytest.fixture
def ready(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A model and raw rows; the working directory is the project."""
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(40)))
    monkeypatch.chdir(project.folder)
    return project


def ensure(project: Project, *sets: str, refuse: bool = False) -> None:
    assert ensure_current(job(project, *sets), refuse=refuse) == Path("data/tokenized")


def stages_run(said: str) -> list[str]:
    return [
        stage
        for stage in ("process", "style", "render", "tokenize")
        if f"· {stage}: " in said and f"· {stage}: data" not in said
    ]


def test_from_raw_to_tokenized_once(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    ensure(ready)
    assert stages_run(capfd.readouterr().err) == ["process", "render", "tokenize"]
    assert sum(facts(ready, "tokenized")["rows"].values()) == 40
    before = ready.outputs("tokenized")
    ensure(ready)
    assert capfd.readouterr().err == ""
    assert ready.outputs("tokenized") == before


def test_new_raw_rows_go_all_the_way(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    ensure(ready)
    ready.put("qa.jsonl", jsonl(questions(50)))
    ensure(ready)
    assert sum(facts(ready, "tokenized")["rows"].values()) == 50


def test_only_what_is_stale_runs(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    ensure(ready)
    capfd.readouterr()
    ensure(ready, "model.max_length=512")
    assert stages_run(capfd.readouterr().err) == ["tokenize"]
    (ready.folder / "data/processed/val.jsonl").write_bytes(jsonl([row("by", "hand")]))
    ensure(ready, "model.max_length=512")
    assert stages_run(capfd.readouterr().err) == ["render", "tokenize"]


def test_refusing_names_the_stage_and_the_command(ready: Project) -> None:
    with pytest.raises(RefusedError, match="process has to run again: not made yet") as refused:
        ensure(ready, refuse=True)
    assert "python -m sftplay process --config config.yaml" in refused.value.todo
    assert not (ready.folder / "data/processed/train.jsonl").exists()
    ensure(ready)
    ensure(ready, refuse=True)
    with pytest.raises(RefusedError, match=r"tokenize .*model\.max_length"):
        ensure(ready, "model.max_length=300", refuse=True)


def test_a_style_given_once_stays(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """`style --style "…"` on the command line, then new raw rows: the refresh styles them too, and
    says so.
    """
    ensure(ready)
    run(ready, "style", style="Answer in rhymes.")
    ensure(ready)
    assert "Answer in rhymes." in str(ready.rows("rendered")[0]["input"])
    ready.put("qa.jsonl", jsonl(questions(45)))
    capfd.readouterr()
    ensure(ready)
    said = capfd.readouterr().err
    assert stages_run(said) == ["process", "style", "render", "tokenize"]
    assert "as before with --style 'Answer in rhymes.'" in said
    assert len(ready.rows("rendered")) == 45
    assert all("Answer in rhymes." in str(found["input"]) for found in ready.rows("rendered"))


def test_a_style_in_the_config(ready: Project) -> None:
    edit_config(ready, "style: {prompt: Be brief.}\n")
    ensure(ready)
    assert all("Be brief." in str(found["input"]) for found in ready.rows("rendered"))


def test_a_style_that_left_the_config_is_a_question(ready: Project) -> None:
    edit_config(ready, "style: {prompt: Be brief.}\n")
    ensure(ready)
    with_model(ready)
    with pytest.raises(RefusedError, match=r"Be brief\.") as refused:
        ensure(ready)
    assert "--no-style" in refused.value.todo
    run(ready, "render", no_style=True)
    ensure(ready)
    assert not any("Be brief." in str(found["input"]) for found in ready.rows("rendered"))


def test_settings_given_once_stay_and_todays_win(
    ready: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    put_rows(ready, [row("a", "b", "c", "d")])
    run(ready, "render", "data.turns=last")
    ensure(ready)
    assert "turns" not in ready.rows("rendered")[0]
    put_rows(ready, [row("e", "f", "g", "h")])
    capfd.readouterr()
    ensure(ready)
    assert "as before with --set data.turns=last" in capfd.readouterr().err
    assert "turns" not in ready.rows("rendered")[0]
    ensure(ready, "data.turns=all")
    assert len(ready.rows("rendered")[0]["turns"]) == 2


def test_rows_made_by_hand_are_left_alone(
    ready: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    put_rows(ready, [row("my", "own")])
    ensure(ready)
    assert "made by hand" in capfd.readouterr().err
    assert len(ready.rows("rendered")) == 1
    (ready.folder / "data/processed/.tmp-process.123").mkdir()  # as a killed process leaves it
    ensure(ready)
    assert len(ready.rows("rendered")) == 40


def test_nothing_to_begin_with(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with_model(project)
    monkeypatch.chdir(project.folder)
    with pytest.raises(DataError, match="no data files"):
        ensure(project)


def test_a_dataset_beside_the_default_one(ready: Project) -> None:
    ensure(ready)
    before = ready.outputs("tokenized")
    ready.put("other/qa.jsonl", jsonl(questions(30, first=1000)))
    sets = ("data.suffix=other", "data.raw=data/raw/other")
    assert ensure_current(job(ready, *sets), refuse=False) == Path("data/tokenized_other")
    assert len(ready.rows("rendered_other")) == 30
    assert ready.outputs("tokenized") == before
