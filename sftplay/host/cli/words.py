"""Tasks that take any number of words: `inv runs.compare A B`, the same as `inv runs.compare --run
A --run B`.

Invoke itself knows positional arguments by number only, so the words are turned into options before
it parses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from invoke.collection import Collection

from sftplay.host.cli.repeatable import RepeatableTask


class WordsTask(RepeatableTask):
    """A task with a list option that may be given as plain words. `words` names its parameter."""

    words: str


def asks_help_for(argv: Sequence[str]) -> str | None:
    """Return the task whose help is asked for, if it is.

    Invoke takes `--help` after a task as the value of a required word or option, so
    `inv replay --help` would replay a run called --help. Here it always means help;
    `--prompt=--help` passes it as a value.

    Args:
        argv: the task and what follows it.
    """
    own = argv[: argv.index("--")] if "--" in argv else argv
    return own[0] if any(word in ("--help", "-h") for word in own[1:]) else None


def spell_out(argv: Sequence[str], collection: Collection) -> list[str]:
    """Return a command line with the words after a WordsTask as its options; any other command line
    as it is.

    Args:
        argv: the task and what follows it.
    """
    try:
        task = collection[argv[0]]
    except (IndexError, KeyError, ValueError):
        return list(argv)
    return [argv[0], *_options(argv[1:], task)] if isinstance(task, WordsTask) else list(argv)


def _options(words: Sequence[str], task: WordsTask) -> Iterator[str]:
    valued = {
        f"-{name}" if len(name) == 1 else f"--{name}"
        for one in task.get_arguments()
        if one.takes_value
        for name in one.names
    }
    option = ""  # the one that the next word is the value of
    for word in words:
        if option or word.startswith("-"):
            yield word
            option = word if not option and word in valued else ""
        else:
            yield f"--{task.words}={word}"
