"""Output of stages: copied byte for byte, and settled for a later reader."""

from __future__ import annotations

import os

import pytest

from sftplay.host.ui.terminal import copy, settled


def test_more_bytes_than_a_pipe_holds_arrive_whole(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    content = bytes(range(256)) * 1000
    assert copy(content, 1)
    assert capfdbinary.readouterr().out == content


def test_a_terminal_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert not copy(b"x", writing)
    finally:
        os.close(writing)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"one\r\ntwo\n", "one\ntwo\n"),
        (b" 10%|#\r 20%|##\r100%|###\ndone\n", "100%|###\ndone\n"),
        (b"\x1b[2K\x1b[32mgreen\x1b[0m", "green"),
        (b"\x1b]0;a window title\x07text", "text"),
        (b"\xff\xc3\xa9", "\ufffd\u00e9"),
    ],
)
def test_settled(content: bytes, text: str) -> None:
    assert settled(content) == text
