"""handover.json: what a stage writes is read back; what anybody else could leave there is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftplay.errors import ProtocolError
from sftplay.handover import MAX_BYTES, MAX_MESSAGE, REASONS, HandOver, read_untrusted, write

ASKED = HandOver(
    run="gsm", attempt="01-unsloth", nonce="a" * 32, phase="probe", reason="no_gpu", exception="builtins.NotImplementedError",
    message="Unsloth cannot find any torch accelerator? You need a GPU.", device="none", versions={"unsloth": "2026.10.7"},
)  # fmt: skip


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "attempts" / "01-unsloth"
    folder.mkdir(parents=True)
    return folder


def read(folder: Path, **other: Any) -> HandOver | None:
    return read_untrusted(
        folder / "handover.json",
        **{"run": "gsm", "attempt": "01-unsloth", "nonce": "a" * 32, **other},
    )


def test_what_was_written_is_read_back(attempt: Path) -> None:
    path = write(attempt, ASKED)
    assert path == attempt / "handover.json"
    assert read(attempt) == ASKED
    assert read(attempt, nonce=None) == ASKED
    assert list(attempt.iterdir()) == [path]


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_travels_and_is_explained(attempt: Path, reason: Any) -> None:
    write(attempt, replace(ASKED, reason=reason))
    found = read(attempt)
    assert found is not None and found.reason == reason
    assert REASONS[reason] in str(found) and "You need a GPU" in str(found)


def test_no_file_is_no_request(tmp_path: Path, attempt: Path) -> None:
    assert read(attempt) is None
    assert read(tmp_path / "attempts" / "07-unsloth") is None


@settings(max_examples=25)
@given(message=st.text(max_size=3000), word=st.text(max_size=400))
def test_any_text_can_be_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, message: str, word: str
) -> None:
    folder = tmp_path_factory.mktemp("a") / "attempts" / "01-unsloth"
    write(
        folder, replace(ASKED, message=message, exception=word, device=word, versions={word: word})
    )
    found = read(folder)
    assert found is not None
    assert len(found.message.encode()) <= MAX_MESSAGE
    assert not any(ord(sign) < 32 and sign not in "\t\n" for sign in found.message + found.device)


def test_a_long_message_is_cut_between_signs(attempt: Path) -> None:
    write(attempt, replace(ASKED, message="ü" * 5000))
    found = read(attempt)
    assert found is not None and found.message == "ü" * (MAX_MESSAGE // 2)


def test_escape_sequences_do_not_reach_a_terminal(attempt: Path) -> None:
    write(attempt, replace(ASKED, message="\x1b[2J\x1b[31mred\x1b[0m\x07 and \u202eback"))
    found = read(attempt)
    assert found is not None and found.message == "red  and  back"


@pytest.mark.parametrize(
    "other", [{"run": "gsm-2"}, {"attempt": "02-unsloth"}, {"nonce": "b" * 32}, {"nonce": ""}]
)
def test_another_start_s_request_is_refused(attempt: Path, other: dict[str, str]) -> None:
    write(attempt, ASKED)
    with pytest.raises(ProtocolError, match=next(iter(other))):
        read(attempt, **other)


CHANGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unknown field": lambda v: {**v, "command": "rm -rf /"},
    "missing field": lambda v: {k: x for k, x in v.items() if k != "nonce"},
    "no schema": lambda v: {k: x for k, x in v.items() if k != "schema"},
    "schema from the future": lambda v: {**v, "schema": 2},
    "schema as text": lambda v: {**v, "schema": "1"},
    "from bnb": lambda v: {**v, "source": "bnb"},
    "to elsewhere": lambda v: {**v, "target": "cpu"},
    "unknown reason": lambda v: {**v, "reason": "boredom"},
    "unknown phase": lambda v: {**v, "phase": "eval"},
    "step as text": lambda v: {**v, "step": "0"},
    "step as truth": lambda v: {**v, "step": True},
    "step below zero": lambda v: {**v, "step": -1},
    "huge step": lambda v: {**v, "step": 10**30},
    "message is a list": lambda v: {**v, "message": ["x"]},
    "message too long": lambda v: {**v, "message": "x" * (MAX_MESSAGE + 1)},
    "message moves the cursor": lambda v: {**v, "message": "\x1b[2J"},
    "device of two lines": lambda v: {**v, "device": "a\nb"},
    "version is a number": lambda v: {**v, "versions": {"torch": 2}},
    "long version": lambda v: {**v, "versions": {"torch": "2" * 300}},
    "null": lambda v: None,
    "a list": lambda v: [v],
    "a text": lambda v: "handover",
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_content_is_refused(attempt: Path, name: str) -> None:
    path = write(attempt, ASKED)
    path.write_text(json.dumps(CHANGED[name](asdict(ASKED))), encoding="utf-8")
    with pytest.raises(ProtocolError) as caught:
        read(attempt)
    assert (
        caught.value.code == 70 and str(path) in str(caught.value) and len(str(caught.value)) < 1000
    )


RAW = {
    "empty": b"",
    "half-written": json.dumps(asdict(ASKED)).encode()[:-20],
    "two documents": json.dumps(asdict(ASKED)).encode() * 2,
    "not UTF-8": b"\xff\xfe{}",
    "lone surrogate": json.dumps(asdict(ASKED)).replace("none", "\\ud800").encode(),
    "NaN": json.dumps(asdict(ASKED)).replace('"step": 0', '"step": NaN').encode(),
    "a field twice": json.dumps(asdict(ASKED)).replace("{", '{"reason": "crash", ', 1).encode(),
    "deeply nested": b"[" * 60_000,
    "oversized": json.dumps(asdict(ASKED)).encode() + b" " * MAX_BYTES,
    "zeros": b"\0" * 4096,
}


@pytest.mark.parametrize("name", RAW)
def test_other_bytes_are_refused(attempt: Path, name: str) -> None:
    (attempt / "handover.json").write_bytes(RAW[name])
    with pytest.raises(ProtocolError):
        read(attempt)


def test_a_link_is_not_followed(attempt: Path, tmp_path: Path) -> None:
    real = write(tmp_path / "elsewhere", ASKED)
    (attempt / "handover.json").symlink_to(real)
    with pytest.raises(ProtocolError):
        read(attempt)


@pytest.mark.parametrize("level", ["attempts", "attempts/01-unsloth"])
def test_a_linked_folder_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "elsewhere" / "attempts" / "01-unsloth", ASKED)
    link = Path("outputs/run") / level
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / level)
    with pytest.raises(ProtocolError):
        read(Path("outputs/run/attempts/01-unsloth"))


def test_a_pipe_keeps_nobody_waiting(attempt: Path) -> None:
    os.mkfifo(attempt / "handover.json")
    with pytest.raises(ProtocolError, match="not a regular file"):
        read(attempt)


def test_a_folder_and_an_endless_device_are_refused(attempt: Path, tmp_path: Path) -> None:
    (attempt / "handover.json").mkdir()
    with pytest.raises(ProtocolError, match="not a regular file"):
        read(attempt)
    with pytest.raises(ProtocolError):
        read_untrusted(Path("/dev/zero"), run="gsm", attempt="01-unsloth", nonce=None)
