"""Tasks of lm-eval as `inv eval --tasks` names them: files of one's own, and public names whose
data `fetch` brings into the cache.
"""

from __future__ import annotations

from pathlib import Path

from sftplay.errors import NotFoundError, UsageError
from sftplay.places import cache_folder
from sftplay.rawdata import HubDataset
from sftplay.task_file import read_task
from sftplay.untrusted import read_json

PACKAGES = "lm-eval"  # what a stage needs besides its stack where it is given tasks


def split_words(words: str) -> tuple[str, ...]:
    """Return the tasks that `--tasks` names.

    Raises:
        UsageError: none, or one twice (2).
    """
    found = tuple(word.strip() for word in words.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise UsageError(
            f"--tasks names tasks with commas between them, each once; got {words!r}",
            todo="as in: --tasks task.yaml, or --tasks hellaswag,arc_easy",
        )
    return found


def is_file(word: str) -> bool:
    """Return whether a word of `--tasks` means a file of one's own; else it is a public name."""
    return "/" in word or word.endswith((".yaml", ".yml"))


def record_of(name: str) -> Path:
    """Return the file in the cache that lists the datasets of a public task; written by `fetch`."""
    return cache_folder() / "lm-eval" / f"{name.replace('/', '--')}.json"


def datasets_of(name: str) -> tuple[HubDataset, ...]:
    """Return the datasets of a public task that was fetched.

    Raises:
        NotFoundError: it was not (66).
    """
    if not record_of(name).is_file():
        raise NotFoundError(
            f"the data of the task {name} is not in the cache",
            where=str(cache_folder()),
            todo=f"fetch it first: inv fetch --tasks {name}",
        )
    listed = read_json(record_of(name), datasets=list)["datasets"]
    return tuple(HubDataset(str(one["name"]), one.get("revision")) for one in listed)


def is_fetched(word: str, *, trusted: bool) -> bool:
    """Return whether everything that a task reads is on this disk.

    Raises:
        SftplayError: a task file that `read_task` refuses.
    """
    if is_file(word):
        return all(one.is_cached for one in read_task(Path(word), trusted=trusted).datasets)
    try:
        return all(one.is_cached for one in datasets_of(word))
    except NotFoundError:
        return False
