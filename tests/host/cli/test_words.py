"""Words after a task, through Invoke's own parser."""

from __future__ import annotations

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.parser import Parser

from sftplay.host.cli.task import task


@task(name="compare", words="runs", help={"runs": "names"})
def compare(c: Context, runs: list[str], output: str | None = None) -> None:
    """Takes any number of names."""


@task(name="clean")
def clean(c: Context, yes: bool = False) -> None:
    """Takes none."""


@pytest.mark.parametrize(
    ("argv", "words", "output"),
    [
        ([], [], None),
        (["a"], ["a"], None),
        (["a", "b", "c"], ["a", "b", "c"], None),
        (["--output", "x", "a", "b"], ["a", "b"], "x"),
        (["a", "--output=x", "b"], ["a", "b"], "x"),
        (["a", "clean"], ["a", "clean"], None),  # a run may be called like a task
    ],
)
def test_words_are_gathered(argv: list[str], words: list[str], output: str | None) -> None:
    contexts = Collection(compare, clean).to_contexts()
    (parsed,) = Parser(contexts=contexts).parse_argv(["compare", *argv])
    assert parsed.as_kwargs["runs"] == words
    assert parsed.as_kwargs["output"] == output
