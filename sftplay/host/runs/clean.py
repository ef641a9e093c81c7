"""Remove what sftplay made: generated data, with `--runs` the runs, with `--envs` the environments.

Never data/raw.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.errors import SftplayError, UsageError
from sftplay.files import explain_os_error, human_size
from sftplay.host.local import environments
from sftplay.host.system.disk import disk_size
from sftplay.host.system.processes import users_of
from sftplay.host.ui import prompt
from sftplay.locks import hold, is_held
from sftplay.places import DATA_FOLDERS, OUTPUTS
from sftplay.runs import Run
from sftplay.temporary import TMP_PREFIX, temporary_name

DATA = Path("data")


@dataclass(frozen=True)
class Removal:
    """Something that would go.

    Attributes:
        path: what a person knows it by; size: bytes on disk; locks: the ones that its users hold.
        parts: what is removed: the path itself, or what is in it where the folder stays.
        readers: runs that may be reading it; one that a process holds keeps it.
    """

    path: Path
    size: int
    parts: tuple[Path, ...]
    locks: tuple[Path, ...] = ()
    environment: bool = False
    readers: tuple[Run, ...] = ()


def run(*, runs: bool = False, envs: bool = False, yes: bool = False) -> int:
    """Show what would go with its size, ask, remove.

    Args:
        runs: the run folders in outputs/ too. A run that a process holds is left alone, with a
            line.
        envs: the environments in .envs/ too.
        yes: do not ask.

    Returns:
        0: what is in use and therefore left is no failure.

    Raises:
        UsageError: nobody can be asked and `yes` was not given (2). PermissionDeniedError: not ours
            (77).
    """
    found = list(_find(runs=runs, envs=envs))
    if not found:
        console.success("nothing to remove" + _not_asked_for(runs, envs))
        return 0
    width = max(len(str(item.path)) for item in found)
    for item in found:
        note = (
            f"   (link: only the link goes, not {item.path.readlink()})"
            if item.path.is_symlink()
            else ""
        )
        console.info(f"{item.path!s:{width}}  {human_size(item.size):>9}{note}")
    console.info(
        f"together {human_size(sum(item.size for item in found))}; data/raw stays{_not_asked_for(runs, envs)}"
    )
    if not yes and not _agreed():
        console.info("nothing was removed")
        return 0
    freed = sum(remove(item) for item in found)
    if freed:
        console.success(f"removed {human_size(freed)}")
    else:
        console.info(f"removed {human_size(freed)}")
    return 0


def _not_asked_for(runs: bool, envs: bool) -> str:
    left = [
        what
        for what, asked in (("--runs: the runs", runs), ("--envs: the environments", envs))
        if not asked
    ]
    return f" ({', '.join(left)} too)" if left else ""


def _agreed() -> bool:
    if not prompt.can_ask():
        raise UsageError(
            "nothing was removed: there is no terminal to ask on",
            todo="the same command with --yes",
        )
    return prompt.ask_yes_no("Remove these?", default=False)


def _find(*, runs: bool, envs: bool) -> Iterator[Removal]:
    readers = tuple(Run(path.name) for path in _inside(OUTPUTS))
    for path in _inside(DATA):
        if path.name in DATA_FOLDERS and not path.is_symlink():
            parts = _inside(path)
            yield from (
                [_removable(path, path / ".lock", parts=parts, readers=readers)] if parts else []
            )
        elif (
            path.name.startswith(tuple(f"{kind}_" for kind in DATA_FOLDERS))
            or path.name in DATA_FOLDERS
        ):
            yield _removable(path, path / ".lock", readers=readers)
    for path in _inside(OUTPUTS) if runs else ():
        run = Run(path.name)
        yield _removable(path, *run.locks)
    for path, _ in environments.listing() if envs else ():
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        yield Removal(shown, disk_size(path), (path,), environment=True)


def _inside(folder: Path) -> list[Path]:
    """List a folder without .gitkeep and other hidden files, but with what a killed write left
    behind.
    """
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if not p.name.startswith(".") or p.name.startswith(TMP_PREFIX)
    )


def _removable(
    path: Path, *locks: Path, parts: Sequence[Path] = (), readers: tuple[Run, ...] = ()
) -> Removal:
    """A lock file that is not there was never held, and one behind a link is not ours to touch."""
    usable = tuple(lock for lock in locks if _is_lock(lock) and not path.is_symlink())
    what = tuple(parts) or (path,)
    return Removal(path, sum(disk_size(part) for part in what), what, usable, readers=readers)


def _is_lock(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def remove(item: Removal) -> int:
    """Remove one thing; bytes freed, 0 where it was left because something uses it."""
    users = users_of(item.path) if item.environment else []
    if users:
        console.warning(f"left: {item.path} is in use by process {users[0]}")
        return 0
    reading = [run.name for run in item.readers if is_held(run.run_lock)]
    if reading:
        console.warning(f"left: {item.path} may be in use: a process works on the run {reading[0]}")
        return 0
    with ExitStack() as stack:
        try:
            for lock in item.locks:
                stack.enter_context(hold(lock, who="clean"))
        except SftplayError as busy:
            console.warning(f"left: {busy}")
            return 0
        for part in item.parts:
            try:
                delete(part)
            except OSError as error:
                raise explain_os_error(error, part) from error
    return item.size


def delete(path: Path) -> None:
    """Remove a file, a link or a folder.

    A folder gets another name first, so that a half-removed run is never taken for a run.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = temporary_name(path)
    path.rename(doomed)
    shutil.rmtree(doomed)
