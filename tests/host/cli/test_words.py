"""Words after a task, through Invoke's own parser: they mean the same as the option that takes
them.
"""

from __future__ import annotations

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.parser import Parser

from sftplay.host.cli.task import task
from sftplay.host.cli.words import spell_out


@task(name="compare", words="run", help={"run": "names", "output": "a file", "yes": "do not ask"})
def compare(
    c: Context, run: list[str] | None = None, output: str | None = None, yes: bool = False
) -> None:
    """Takes any number of names."""


@task(name="clean")
def clean(c: Context, yes: bool = False) -> None:
    """Takes none."""


TASKS = Collection(compare, clean)


@pytest.mark.parametrize(
    ("argv", "names", "output"),
    [
        ([], [], None),
        (["a"], ["a"], None),
        (["a", "b", "c"], ["a", "b", "c"], None),
        (["--run", "a", "--run=b"], ["a", "b"], None),
        (["a", "--run", "b", "c"], ["a", "b", "c"], None),
        (["--output", "x", "a", "b"], ["a", "b"], "x"),
        (["a", "--output=x", "b"], ["a", "b"], "x"),
        (["--yes", "a", "b"], ["a", "b"], None),
        (["a", "clean"], ["a", "clean"], None),  # a run may be called like a task
    ],
)
def test_words_are_gathered(argv: list[str], names: list[str], output: str | None) -> None:
    (parsed,) = Parser(contexts=TASKS.to_contexts()).parse_argv(
        spell_out(["compare", *argv], TASKS)
    )
    assert parsed.as_kwargs["run"] == names
    assert parsed.as_kwargs["output"] == output


@pytest.mark.parametrize("argv", [[], ["clean", "--yes"], ["nope", "a"], ["clean", "compare", "a"]])
def test_other_command_lines_stay_as_they_are(argv: list[str]) -> None:
    assert spell_out(argv, TASKS) == argv
