"""A command line that no task understands: said in the words of the menu, with what was probably
meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from invoke.exceptions import ParseError
from invoke.parser.context import ParserContext

from sftplay.errors import UsageError
from sftplay.runs import Run

_UNKNOWN = re.compile(r"No idea what '(.+)' is!")
_ONE_WORD = ("run", "name", "what")  # arguments that are given as a word, without their option
_OF_A_FLAG = re.compile(r"Flag <Argument: ([\w-]+)[^>]*> (needed value|doesn't take any value)")


def explain(error: ParseError, tasks: Iterable[str]) -> UsageError:
    """Turn a refusal of Invoke's parser into a message for people.

    Args:
        tasks: every name of a task.
    """
    said, context = str(error), error.context
    name = context.name if context is not None and context.name else None
    unknown = _UNKNOWN.search(said)
    if unknown and unknown[1].startswith("-"):
        return _no_option(unknown[1], name, list(context.flags) if name and context else [])
    if unknown and name and context is not None:
        return _no_word(unknown[1], context)
    if unknown:
        names = list(tasks)
        close = sorted(name for name in names if name.endswith(f".{unknown[1]}"))[
            ::-1
        ]  # runs. first
        close += difflib.get_close_matches(unknown[1], names, n=1)
        return UsageError(
            f"there is no task {unknown[1]}",
            todo=f"did you mean: inv {close[0]}?" if close else "inv --list names the tasks",
        )
    if name and context is not None and context.missing_positional_args:
        missing = [argument.name for argument in context.missing_positional_args]
        example = " ".join(one.upper() if one in _ONE_WORD else f"--{one} …" for one in missing)
        more = "; inv runs lists the runs" if "run" in missing else f"; inv {name} --help says more"
        return UsageError(
            f"inv {name} requires {example.removesuffix(' …')}", todo=f"inv {name} {example}{more}"
        )
    of_flag = _OF_A_FLAG.search(said)
    if name and of_flag:
        wants = "requires a value" if of_flag[2] == "needed value" else "takes no value"
        return UsageError(f"inv {name} --{of_flag[1]} {wants}", todo=f"inv {name} --help")
    return UsageError(said, todo="inv --list names the tasks, inv TASK --help their options")


def _no_word(word: str, task: ParserContext) -> UsageError:
    """Say of a word after a task that it belongs behind --run, or that the task takes none."""
    if "--run" in task.flags and "/" not in word and Run(word).folder.is_dir():
        said, todo = f"inv {task.name} takes a run as an option", f"inv {task.name} --run {word}"
    else:
        said = f"inv {task.name} takes no word {word}"
        todo = f"inv {task.name} --help names its options"
    return UsageError(said, todo=todo)


def _no_option(option: str, task: str | None, known: list[str]) -> UsageError:
    if task is None:
        return UsageError(
            f"there is no option {option}",
            todo="inv --list names the tasks, inv TASK --help their options",
        )
    word = option.partition("=")[0]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    if not close and "--set" in known:
        close = [f"--set {key}=…" for key in _keys_like(word)]
    return UsageError(
        f"inv {task} has no option {word}",
        todo=f"did you mean {close[0]}?" if close else f"inv {task} --help names its options",
    )


def _keys_like(option: str) -> list[str]:
    """The config's key that an option of another tool probably is (`--max-steps`), if any."""
    from sftplay.config import walk_settings

    keys = {path.rpartition(".")[2]: path for path, *_ in walk_settings()}
    wanted = option.lstrip("-").replace("-", "_")
    return [keys[name] for name in difflib.get_close_matches(wanted, keys, n=1, cutoff=0.66)]
