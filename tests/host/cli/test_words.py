"""Words after a task, through Invoke's own parser: they mean the same as the option that takes
them.
"""

from __future__ import annotations

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.parser import Parser

from sftplay.config import apply_override
from sftplay.host.cli.menu import namespace
from sftplay.host.cli.stage_task import one_or_list
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


@pytest.mark.parametrize(
    ("words", "raw"),
    [
        (["it's.jsonl"], "it's.jsonl"),
        (["a.jsonl", "owner/name", "b c.csv"], ["a.jsonl", "owner/name", "b c.csv"]),
    ],
)
def test_files_after_preview_become_data_raw(words: list[str], raw: object) -> None:
    settings: dict[str, dict[str, object]] = {}
    apply_override(settings, f"data.raw={one_or_list(words)}")
    assert settings["data"]["raw"] == raw
    (parsed,) = Parser(contexts=namespace.to_contexts()).parse_argv(
        spell_out(["data.preview", *words], namespace)
    )
    assert parsed.as_kwargs["file"] == words
