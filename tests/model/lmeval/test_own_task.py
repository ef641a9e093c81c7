"""The run's rows as a task of lm-eval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.task_file import read_task
from tests.box import Box


def test_the_test_split_is_written_with_its_rows(
    trained: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = box.run("eval", "--run", "demo", "--split=test", "--write-task", cwd=trained)
    assert ran.code == 0, ran.err
    monkeypatch.chdir(trained)
    place = Path("outputs/demo/eval/for-lm-eval/demo_test.yaml")
    task = read_task(place, trusted=False)
    assert task.name == "demo_test" and task.config["generation_kwargs"]["until"] == []
    (rows,) = task.files
    written = {row["id"]: row for row in map(json.loads, rows.read_text().splitlines())}
    processed = map(json.loads, Path("data/processed/test.jsonl").read_text().splitlines())
    expected = {
        row["id"]: (row["messages"][0]["content"], row["messages"][1]["content"])
        for row in processed
    }
    assert expected
    assert {key: (row["question"], row["answer"]) for key, row in written.items()} == expected
    assert list(written) == sorted(written)
    assert not Path("outputs/demo/eval/test").exists()


def test_system_turn_and_earlier_turns(trained: Path, box: Box) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Four."},
    ]
    line = json.dumps({"id": "a", "messages": messages}) + "\n"
    (trained / "data/processed/val.jsonl").write_text(line)
    ran = box.run("eval", "--run", "demo", "--write-task", cwd=trained)
    assert ran.code == 0 and "1 row with several turns" in ran.err, ran.err
    text = (trained / "outputs/demo/eval/for-lm-eval/demo_val.jsonl").read_text()
    assert json.loads(text) == {
        "id": "a",
        "system": "Be brief.",
        "question": "User: One?\n\nAssistant: Two.\n\nUser: Three?",
        "answer": "Four.",
    }


def test_a_style_prompt_is_not_in_the_task(trained: Path, box: Box) -> None:
    """Other commands are told what is missing."""
    argv = ("eval", "--run", "demo", "--split=test", "--write-task")
    assert "--system_instruction" not in box.run(*argv, cwd=trained).err
    place = trained / "outputs/demo/run.json"
    record = json.loads(place.read_text()) | {"style": {"prompt": "Be brief.", "mode": "prepend"}}
    place.write_text(json.dumps(record))
    assert "--system_instruction" in box.run(*argv, cwd=trained).err


def test_without_rows(trained: Path, box: Box) -> None:
    (trained / "data/processed/test.jsonl").write_text("")
    argv = ("eval", "--run", "demo", "--split=test", "--write-task")
    assert box.run(*argv, cwd=trained).code == 65
    shutil.rmtree(trained / "data/processed")
    assert box.run(*argv, cwd=trained).code == 66


@pytest.mark.parametrize("option", ["--limit=3", "--chat-template", "--trust-tasks"])
def test_options_of_tasks_mean_nothing_without_one(trained: Path, box: Box, option: str) -> None:
    ran = box.run("eval", "--run", "demo", option, cwd=trained)
    assert ran.code == 2 and "--tasks" in ran.err


def test_without_lm_eval_the_environment_is_named(trained: Path, box: Box) -> None:
    (trained / "t.yaml").write_text("task: t\n")
    ran = box.run("eval", "--run", "demo", "--tasks=t.yaml", cwd=trained)
    assert ran.code == 69 and "--runner local" in ran.err
    assert [path.name for path in (trained / "outputs/demo/eval").iterdir()] == [".lock"]
