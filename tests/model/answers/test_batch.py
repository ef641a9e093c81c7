"""Files of prompts: answered in order, completed after a kill, never mixed."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.box import Box
from tests.model.plain_inference import QUESTIONS, plain_answer


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def answered(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """The trained project with a file of prompts answered. Not to be changed."""
    folder = tmp_path_factory.mktemp("answered") / "project"
    shutil.copytree(trained_project, folder)
    (folder / "q.txt").write_text("\n".join(QUESTIONS) + "\n")
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", cwd=folder)
    assert ran.code == 0, ran.err
    assert ran.out == "outputs/demo/predictions/q.jsonl\n"
    return folder


@pytest.fixture
def project(answered: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(answered, tmp_path / "project")
    return tmp_path / "project"


def test_a_file_is_answered_in_its_order(answered: Path) -> None:
    rows = _rows(answered / "outputs/demo/predictions/q.jsonl")
    assert [(row["id"], row["prompt"]) for row in rows] == list(enumerate(QUESTIONS, 1))
    for number in (0, 3, 17, 29):
        assert rows[number]["answer"] == plain_answer(answered, QUESTIONS[number])


def test_a_finished_file_is_left_alone(project: Path, box: Box) -> None:
    output = project / "outputs/demo/predictions/q.jsonl"
    before = output.read_bytes()
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", cwd=project)
    assert ran.code == 0 and "answered already" in ran.err and output.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1, 900, 10**6])
def test_a_torn_file_is_completed_to_the_same_bytes(project: Path, box: Box, kept: int) -> None:
    output = project / "outputs/demo/predictions/q.jsonl"
    whole = output.read_bytes()
    output.write_bytes(whole[: min(kept, len(whole) - 3)])
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", cwd=project)
    assert ran.code == 0, ran.err
    assert output.read_bytes() == whole


def test_killed_in_the_middle_and_started_again(project: Path, box: Box) -> None:
    output, whole = project / "outputs/demo/predictions/q.jsonl", project / "whole.jsonl"
    many = [f"{question} ({n})" for n in range(12) for question in QUESTIONS]
    (project / "many.txt").write_text("\n".join(many) + "\n")
    argv = ("infer", "--run", "demo", "--input", "many.txt", "--output", "some.jsonl")
    started = box.start(*argv, cwd=project)
    end = time.monotonic() + 60
    while not ((project / "some.jsonl").exists() and (project / "some.jsonl").stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.02)
    started.kill(signal.SIGTERM)
    assert started.wait().code == 143
    begun = (project / "some.jsonl").read_bytes()
    assert 0 < begun.count(b"\n") < len(many)
    ran = box.run(*argv, cwd=project)
    assert ran.code == 0 and f"{begun.count(10)} of {len(many)}" in ran.err
    assert (project / "some.jsonl").read_bytes().startswith(begun)
    assert box.run(*argv[:-1], whole, cwd=project).code == 0
    assert _rows(project / "some.jsonl") == _rows(whole) and output.exists()


def test_more_prompts_at_the_end_of_the_file(project: Path, box: Box) -> None:
    before = _rows(project / "outputs/demo/predictions/q.jsonl")
    with (project / "q.txt").open("a") as more:
        more.write("And one more?\n")
    assert box.run("infer", "--run", "demo", "--input", "q.txt", cwd=project).code == 0
    after = _rows(project / "outputs/demo/predictions/q.jsonl")
    assert after[:-1] == before and after[-1]["prompt"] == "And one more?"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("--set", "infer.max_new_tokens=5"), "sampling"),
        (("--system", "Be brief."), "system"),
        (("--base", "--output", "outputs/demo/predictions/q.jsonl"), "tuned_weights"),
    ],
)
def test_answers_of_two_kinds_are_never_mixed(
    project: Path, box: Box, change: tuple[str, ...], word: str
) -> None:
    output = project / "outputs/demo/predictions/q.jsonl"
    before = output.read_bytes()[:2000]
    output.write_bytes(before)
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", *change, cwd=project)
    assert ran.code == 76 and word in ran.err and "--output" in ran.err
    assert output.read_bytes() == before


def test_other_prompts_than_those_that_were_answered(project: Path, box: Box) -> None:
    (project / "q.txt").write_text("\n".join(["Something else?", *QUESTIONS[1:]]) + "\n")
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", cwd=project)
    assert ran.code == 76 and "answer 1 is not to prompt 1" in ran.err


def test_a_file_of_somebody_else_is_not_written_to(project: Path, box: Box) -> None:
    (project / "mine.jsonl").write_text('{"mine": 1}\n')
    ran = box.run(
        "infer", "--run", "demo", "--input", "q.txt", "--output", "mine.jsonl", cwd=project
    )
    assert ran.code == 76 and (project / "mine.jsonl").read_text() == '{"mine": 1}\n'
    ran = box.run("infer", "--run", "demo", "--input", "q.txt", "--output", "q.txt", cwd=project)
    assert ran.code == 2 and (project / "q.txt").read_text().startswith(QUESTIONS[0])


def test_a_bad_row_is_found_before_anything_is_answered(project: Path, box: Box) -> None:
    (project / "bad.jsonl").write_text(
        '"fine"\n{"prompt": "also fine"}\n{"answer": "no question"}\n'
    )
    ran = box.run("infer", "--run", "demo", "--input", "bad.jsonl", cwd=project)
    assert (
        ran.code == 65
        and "bad.jsonl:3" in ran.err
        and not (project / "outputs/demo/predictions/bad.jsonl").exists()
    )
    (project / "bad.jsonl").write_text('"fine"\n"not <|im_start|> fine"\n')
    ran = box.run("infer", "--run", "demo", "--input", "bad.jsonl", cwd=project)
    assert ran.code == 65 and "bad.jsonl:2" in ran.err and "<|im_start|>" in ran.err
    (project / "bad.jsonl").write_text("\n\n")
    assert box.run("infer", "--run", "demo", "--input", "bad.jsonl", cwd=project).code == 65


def test_conversations_with_ids(project: Path, box: Box) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Again"},
    ]
    (project / "talks.jsonl").write_text(json.dumps({"id": "x7", "messages": turns}) + "\n")
    assert (
        box.run("infer", "--run", "demo", "--base", "--input", "talks.jsonl", cwd=project).code == 0
    )
    (row,) = _rows(project / "outputs/demo/predictions/talks.base.jsonl")
    assert row["id"] == "x7" and row["messages"] == turns and isinstance(row["answer"], str)


def test_a_penalty_and_stop_texts(answered: Path, project: Path, box: Box) -> None:
    """As transformers answers with them; recorded, and not mixed with answers without them."""
    answer = _rows(answered / "outputs/demo/predictions/q.jsonl")[0]["answer"]
    stop = answer[8:11]
    settings = {"repetition_penalty": 1.3, "stop": [stop]}
    given = [f"--set=infer.{key}={json.dumps(value)}" for key, value in settings.items()]
    argv = ("infer", "--run", "demo", "--input", "q.txt", *given)
    ran = box.run(*argv, cwd=project)
    assert ran.code == 76 and "sampling" in ran.err
    ran = box.run(*argv, "--output", "other.jsonl", cwd=project)
    assert ran.code == 0 and "infer.repetition_penalty 1.3" in ran.err, ran.err
    rows = _rows(project / "other.jsonl")
    for number in (0, 3, 17, 29):
        whole = plain_answer(answered, QUESTIONS[number], repetition_penalty=1.3)
        assert rows[number]["answer"] == whole.partition(stop)[0]
        assert rows[number]["ended"] or stop not in whole
    record = json.loads((project / "other.jsonl.meta.json").read_text())
    assert record["sampling"] == {"max_new_tokens": 24, **settings}
    one = ("infer", "--run", "demo", "--prompt", QUESTIONS[0], *given)
    assert box.run(*one, cwd=project).out.strip() == rows[0]["answer"].strip()


@pytest.mark.parametrize(
    "value", ["repetition_penalty=0.5", "top_k=-1", "min_p=2", 'stop=[""]', "stop=End"]
)
def test_a_setting_out_of_range_is_refused(trained_project: Path, box: Box, value: str) -> None:
    ran = box.run(
        "infer", "--run", "demo", "--prompt", "Hi", "--set", f"infer.{value}", cwd=trained_project
    )
    assert ran.code == 78 and f"infer.{value.partition('=')[0]}" in ran.err


def test_two_at_once(project: Path, box: Box) -> None:
    (project / "many.txt").write_text("\n".join(QUESTIONS * 30) + "\n")
    argv = ("infer", "--run", "demo", "--input", "many.txt", "--output", "some.jsonl")
    first = box.start(*argv, cwd=project)
    while not (project / "some.jsonl.meta.json").exists():
        time.sleep(0.02)
    second = box.run(*argv, cwd=project)
    first.kill(signal.SIGKILL)
    first.wait()
    assert second.code == 75 and "another process" in second.err
