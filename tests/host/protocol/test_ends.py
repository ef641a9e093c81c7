"""Ends of a stage: explained where the stage could not do it."""

from __future__ import annotations

import pytest

from sftplay.host.protocol.ends import explain_end


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (137, "out of memory"),
        (139, "SIGSEGV"),
        (135, "/dev/shm"),
        (134, "SIGABRT"),
        (159, "SIGSYS"),
    ],
)
def test_ends_without_a_word_are_explained(
    code: int, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_end("eval", code)
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 65, 85, 130, 143])
def test_ends_that_the_stage_explained_itself_get_no_second_word(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_end("eval", code)
    assert capsys.readouterr().err == ""
