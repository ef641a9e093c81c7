"""show: rows as the model sees them, by the real command and in a real terminal."""

from __future__ import annotations

import contextlib
import os
import pty

import pytest

from sftplay.freshness import behind
from tests.data.models import save_model
from tests.data.project import ROOT, Project, jsonl, questions
from tests.data.stages import job, put_rows, row, run, with_model


@pytest.fixture
def tokenized(project: Project) -> Project:
    with_model(project)
    put_rows(
        project,
        [
            row("hello", "hi", "and?", "bye", row_id="aa"),
            *(row(f"q{n}", f"a{n}") for n in range(4)),
        ],
    )
    put_rows(project, [row("só?", "sí", row_id="bb")], split="val")
    run(project, "render")
    run(project, "tokenize")
    return project


def test_trained_text_stands_in_brackets(tokenized: Project) -> None:
    done = tokenized.run("show", "--count", "1")
    assert done.code == 0, done.said
    assert "train, row 1, id aa: " in done.said
    assert (
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n[[hi<|im_end|>]]\n"
        "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n[[bye<|im_end|>]]\n"
    ) in done.said
    assert "\x1b" not in done.said
    assert "q0" not in done.said


def test_three_rows_unless_told(tokenized: Project) -> None:
    assert tokenized.run("show").said.count("── train") == 3
    assert tokenized.run("show", "--count", "9").said.count("── train") == 5


def test_a_row_by_id_is_found_in_any_split(tokenized: Project) -> None:
    done = tokenized.run("show", "--row", "bb")
    assert done.code == 0, done.said
    assert "── val, row 1, id bb" in done.said
    assert "[[sí<|im_end|>]]" in done.said


def test_every_row_that_a_conversation_was_unrolled_into(tokenized: Project) -> None:
    run(tokenized, "render", "data.turns=unroll")
    run(tokenized, "tokenize")
    said = tokenized.run("show", "--row", "aa").said
    assert "id aa-1: " in said
    assert "id aa-2: " in said


def test_in_a_terminal_trained_text_is_green_and_the_rest_dim(
    tokenized: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tokenized.folder)
    pid, terminal = pty.fork()
    if not pid:
        os.execve(
            tokenized.argv("show")[0],
            tokenized.argv("show", "--row", "aa"),
            {**os.environ, "PYTHONPATH": str(ROOT)},
        )
    said = b""
    while chunk := _read(terminal):
        said += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    assert b"\x1b[2muser\r\nhello\x1b[0m" in said
    assert b"\x1b[32mhi\x1b[0m\x1b[32;4m<|im_end|>\x1b[0m" in said
    assert b"[[" not in said


def test_text_can_not_drive_the_terminal(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("ask", "red \x1b[31m and \x07 bell\tend", row_id="aa")])
    run(project, "render")
    run(project, "tokenize")
    said = project.run("show").said
    assert "[[red \\x1b[31m and \\x07 bell\tend<|im_end|>]]" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--row", "zz"), 66, "no tokenized row has the id zz"),
        (("--count", "0"), 2, "--count requires at least 1"),
        (("--count", "many"), 2, "invalid int value"),
        (("--split", "dev"), 2, "invalid choice"),
    ],
)
def test_what_can_not_be_shown(
    tokenized: Project, args: tuple[str, ...], code: int, words: str
) -> None:
    done = tokenized.run("show", *args)
    assert (done.code, words in done.said) == (code, True), done.said


def test_nothing_tokenized_yet(project: Project) -> None:
    with_model(project)
    done = project.run("show")
    assert done.code == 66
    assert "inv tokenize" in done.said


def test_rows_of_another_tokenizer_are_not_decoded(tokenized: Project) -> None:
    save_model(tokenized.folder / "model", specials=["<|more|>"])
    done = tokenized.run("show")
    assert done.code == 76
    assert "another tokenizer" in done.said


def test_an_empty_split_and_stale_rows_are_said(tokenized: Project) -> None:
    done = tokenized.run("show", "--split", "test", "--set", "model.max_length=512")
    assert done.code == 0
    assert "the test split is empty" in done.said
    assert "is not current (settings changed: model.max_length 1024 → 512)" in done.said


def test_rows_from_before_other_rows_were_processed_are_said_to_be_old(project: Project) -> None:
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(20)))
    for stage in ("process", "render", "tokenize"):
        run(project, stage)
    project.put("qa.jsonl", jsonl(questions(30)))
    run(project, "process")
    old = "data/rendered was made before data/processed changed: inv render (train does it itself)"
    shown, again = project.run("show"), project.run("tokenize")
    assert shown.code == again.code == 0
    assert old in shown.said and old in again.said
    strict = project.run("tokenize", "--strict")
    assert (
        strict.code == 65 and "data/rendered was made before data/processed changed" in strict.said
    )
    assert "inv render --config config.yaml, then repeat this" in strict.said
    with contextlib.chdir(project.folder):
        assert behind(job(project).settings) is not None
        run(project, "render")
        assert behind(job(project).settings) == (
            "data/tokenized was made before data/rendered changed",
            "inv tokenize",
        )
        run(project, "tokenize")
        assert behind(job(project).settings) is None
        for stage, options in (("style", {"style": "Rhyme."}), ("render", {}), ("tokenize", {})):
            run(project, stage, **options)
        assert behind(job(project).settings) is None
        project.put("qa.jsonl", jsonl(questions(40)))
        run(project, "process")
        assert "processed_with_style was made before data/processed changed" in str(
            behind(job(project).settings)
        )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
