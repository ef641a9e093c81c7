"""`inv test --python`: which tests run, and a Python that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.dev import host_tests
from tests.host.conftest import CHECKOUT


def test_the_tests_of_stages_are_not_among_them() -> None:
    chosen = host_tests._tests()
    assert {"tests/host", "tests/page", "tests/test_errors.py"} <= set(chosen)
    assert all((CHECKOUT / name).exists() for name in chosen)
    assert not [
        name for name in chosen if name.startswith(("tests/data", "tests/model", "tests/gpu"))
    ]


def test_a_python_that_does_not_exist_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        host_tests.run("3.99")
    assert caught.value.code == 69
    assert "3.99" in capfd.readouterr().err
    assert not list(tmp_path.glob("*/sftplay.json"))
