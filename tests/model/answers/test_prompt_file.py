"""Files of prompts: every form that is taken, and what is said about the others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import DataError, NotFoundError, UsageError
from sftplay.model.answers.prompt_file import read_prompts, stem


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _row(folder: Path, row: Any) -> Any:
    (prompt,) = read_prompts(_write(folder, "q.jsonl", json.dumps(row).encode() + b"\n"))
    return prompt


def test_a_text_file_has_one_prompt_a_line(tmp_path: Path) -> None:
    content = "\ufeffWhat?\r\n\r\n  Why\u2028so?  \nNo newline at the end".encode()
    prompts = list(read_prompts(_write(tmp_path, "q.txt", content)))
    assert [(p.prompt_id, p.given["prompt"]) for p in prompts] == [
        (1, "What?"),
        (2, "Why\u2028so?"),
        (3, "No newline at the end"),
    ]
    assert [p.place for p in prompts] == [f"{tmp_path}/q.txt:{line}" for line in (1, 3, 4)]
    assert prompts[0].messages == ({"role": "user", "content": "What?"},)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("Hi", "Hi"),
        ({"prompt": "Hi"}, "Hi"),
        ({"question": " Hi ", "answer": "ignored"}, "Hi"),
        ({"user": "Hi"}, "Hi"),
        ({"instruction": "Translate", "input": "Hallo"}, "Translate\n\nHallo"),
        ({"instruction": "Translate", "input": ""}, "Translate"),
    ],
)
def test_forms_of_a_row(tmp_path: Path, row: Any, text: str) -> None:
    prompt = _row(tmp_path, row)
    assert prompt.given == {"prompt": text} and prompt.messages == (
        {"role": "user", "content": text},
    )


def test_conversations(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Again"},
    ]
    for row in ({"messages": turns}, {"prompt": turns}):
        prompt = _row(tmp_path, row)
        assert list(prompt.messages) == turns and list(prompt.given["messages"]) == turns


def test_ids_and_system_prompts(tmp_path: Path) -> None:
    prompt = _row(tmp_path, {"id": "q-7", "system": "Be brief.", "prompt": "Hi"})
    assert prompt.prompt_id == "q-7" and prompt.messages[0] == {
        "role": "system",
        "content": "Be brief.",
    }
    assert _row(tmp_path, {"id": None, "prompt": "Hi"}).prompt_id == 1


def test_packed(tmp_path: Path) -> None:
    path = _write(tmp_path, "q.jsonl.gz", gzip.compress(b'"Hi"\n'))
    assert [p.given["prompt"] for p in read_prompts(path)] == ["Hi"] and stem(path) == "q"


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b'"ok"\n{"prompt": \n', ":2", "JSON"),
        (b'"ok"\n\n{"answer": "x"}\n', ":3", "no prompt"),
        (b'{"prompt": "   "}\n', ":1", "no prompt"),
        (b"[1]\n", ":1", "not a prompt"),
        (b'{"messages": []}\n', ":1", "last message"),
        (b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}\n', ":1", "last message"),
        (b'{"messages": [{"role": "user", "content": 7}]}\n', ":1", "text as content"),
        (b'{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "system": "c"}\n', ":1", "system"),
        (b'{"prompt": "a", "prompt": "b"}\n', ":1", "twice"),
        (b'"ok"\n"\xff"\n', ":2", "UTF-8"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path: Path, content: bytes, place: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_prompts(_write(tmp_path, "q.jsonl", content)))
    assert f"q.jsonl{place}" in caught.value.where and what in caught.value.what


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(read_prompts(tmp_path / "none.txt"))
    with pytest.raises(UsageError, match=r"\.csv"):
        list(read_prompts(_write(tmp_path, "q.csv", b"a,b\n")))
    with pytest.raises(DataError, match="UTF-16"):
        list(read_prompts(_write(tmp_path, "q.txt", "Hallo, Welt".encode("utf-16"))))
