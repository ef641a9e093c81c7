"""Bringing data/tokenized up to date: what runs, what is repeated, what is refused, and that
nothing is dropped silently.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.data.pipeline import ensure_current
from sftplay.errors import DataError, RefusedError
from sftplay.places import data_folder
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
    ensure_current(job(project, *sets), refuse=refuse)
    assert (project.folder / "data/tokenized/stamp.json").is_file()


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
    assert "--style 'Answer in rhymes.' is kept from an earlier `inv style`" in said
    assert "to undo it: inv render --no-style --config config.yaml" in said
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
    said = capfd.readouterr().err
    assert "--set data.turns=last is kept from an earlier `inv render`" in said
    assert "to undo it: inv render --config config.yaml" in said
    assert "turns" not in ready.rows("rendered")[0]
    ensure(ready)
    assert "--set data.turns=last is kept" in capfd.readouterr().err  # each time
    ensure(ready, "data.turns=all")
    assert len(ready.rows("rendered")[0]["turns"]) == 2


def test_a_setting_of_train_is_for_one_command(
    ready: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    """The next command without it trains on what the config says again, and says both values."""
    ready.put("other/qa.jsonl", jsonl(questions(30, first=1000)))
    made = ensure_current(job(ready, "data.raw=data/raw/other"), refuse=False)
    assert made.settings.data.raw == "data/raw/other"
    assert len(ready.rows("rendered")) == 30
    with pytest.raises(RefusedError, match=r"data\.raw 'data/raw/other' → 'data/raw'"):
        ensure(ready, refuse=True)
    capfd.readouterr()
    ensure(ready)
    assert "process: settings changed: data.raw 'data/raw/other' → 'data/raw', running it" in (
        capfd.readouterr().err
    )
    assert len(ready.rows("rendered")) == 70


def test_a_key_of_the_config_file_wins_over_an_earlier_data_command(
    ready: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    run(ready, "process", "data.val_share=0.4")
    ensure(ready)
    assert "--set data.val_share=0.4 is kept from an earlier `inv process`" in (
        capfd.readouterr().err
    )
    edit_config(ready, "data: {val_share: 0.1}\n")
    with pytest.raises(RefusedError, match=r"data\.val_share 0\.4 → 0\.1") as refused:
        ensure(ready, refuse=True)
    assert "python -m sftplay process --config config.yaml, then" in refused.value.todo
    ensure(ready)
    said = capfd.readouterr().err
    assert "settings changed: data.val_share 0.4 → 0.1, running it" in said and "kept" not in said


def test_a_refusal_names_a_command_that_keeps_what_is_kept(ready: Project) -> None:
    run(ready, "process", "data.val_share=0.4")
    ready.put("qa.jsonl", jsonl(questions(50)))
    with pytest.raises(RefusedError, match="its input changed") as refused:
        ensure(ready, refuse=True)
    assert "process --config config.yaml --set data.val_share=0.4, then" in refused.value.todo


def test_the_settings_that_the_rows_were_made_with(ready: Project) -> None:
    """For config.yaml of a run: what was kept stands in it, so that it says what was trained."""
    run(ready, "process", "data.val_share=0.2")
    run(ready, "style", style="It's brief: really.", mode="append")
    made = ensure_current(job(ready), refuse=False).settings
    assert made.data.val_share == 0.2
    assert (made.style.prompt, made.style.mode) == ("It's brief: really.", "append")
    run(ready, "render", no_style=True)
    assert ensure_current(job(ready), refuse=False).settings.style.prompt is None


def test_a_style_of_one_command_is_gone_in_the_next(
    ready: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    made = ensure_current(job(ready, "style.prompt='Rhyme.'"), refuse=False)
    assert made.settings.style.prompt == "Rhyme."
    assert "Rhyme." in str(ready.rows("rendered")[0]["input"])
    capfd.readouterr()
    assert ensure_current(job(ready), refuse=False).settings.style.prompt is None
    said = capfd.readouterr().err
    assert "style: 'Rhyme.' was for one command (--set)" in said
    assert "Rhyme." not in str(ready.rows("rendered")[0]["input"])
    ensure(ready)
    assert capfd.readouterr().err == ""
    ensure(ready, "style.prompt='Sing.'")
    assert "Sing." in str(ready.rows("rendered")[0]["input"])


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
    made = ensure_current(job(ready, *sets), refuse=False)
    assert data_folder("tokenized", made.settings) == Path("data/tokenized_other")
    assert len(ready.rows("rendered_other")) == 30
    assert ready.outputs("tokenized") == before
