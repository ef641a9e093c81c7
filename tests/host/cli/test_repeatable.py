"""A task's options keep their help however often they are read."""

from __future__ import annotations

import pytest
from invoke.context import Context
from invoke.tasks import Task

from sftplay.host.cli.repeatable import RepeatableTask


def body(c: Context, port: str = "") -> None:
    """Serve."""


def test_the_help_is_there_the_second_time_and_invokes_own_is_not() -> None:
    texts = {"port": "port on 127.0.0.1"}
    task: RepeatableTask = RepeatableTask(body, help=dict(texts))
    assert [task.get_arguments()[0].help for _ in range(2)] == ["port on 127.0.0.1"] * 2
    plain: Task[None] = Task(body, help=dict(texts))  # when this changes, RepeatableTask can go
    assert [plain.get_arguments()[0].help for _ in range(2)] == ["port on 127.0.0.1", None]


def test_help_for_an_option_that_does_not_exist_is_still_refused() -> None:
    with pytest.raises(ValueError, match="prot"):
        RepeatableTask(body, help={"prot": "typo"}).get_arguments()
