"""Questions at the terminal."""

import io

import pytest

from sftplay.host.ui import prompt


@pytest.mark.parametrize(
    ("typed", "default", "answer"),
    [
        ("y\n", False, True),
        ("NO\n", True, False),
        ("\n", True, True),
        ("\n", False, False),
        ("", True, True),
    ],
)
def test_yes_or_no(
    monkeypatch: pytest.MonkeyPatch, typed: str, default: bool, answer: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert prompt.ask_yes_no("Continue?", default=default) is answer


def test_another_answer_is_asked_again_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("perhaps\ny\n"))
    assert prompt.ask_yes_no("Continue?", default=False)
    said = capsys.readouterr().err
    assert said.count("Continue? [y/N]") == 2 and "answer y or n" in said
