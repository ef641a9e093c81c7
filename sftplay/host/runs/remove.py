"""`inv runs.rm RUN …`: remove runs, after a look and a question.

A link is removed as a link; what it points to stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sftplay import console
from sftplay.errors import BusyError, UsageError
from sftplay.files import human_size
from sftplay.host.runs.clean import Removal, remove
from sftplay.host.runs.view import require_run
from sftplay.host.system.disk import disk_size
from sftplay.host.ui import prompt


def run(names: Sequence[str], *, yes: bool = False) -> int:
    """Show what would go, ask, remove.

    Returns:
        75 where a run was left because a process holds it.

    Raises:
        UsageError: no names; or nobody can be asked and `yes` was not given (2). NotFoundError: no
            such run (66).
    """
    if not names:
        raise UsageError("which runs?", todo="inv runs.rm NAME …; inv runs lists them")
    doomed = []
    for name in dict.fromkeys(names):
        view = require_run(name)
        folder = view.run.folder
        link = folder.is_symlink()
        note = f"link: only the link goes, not {folder.readlink()}" if link else view.state
        console.info(f"{folder}  {human_size(disk_size(folder))}  {note}")
        locks = [lock for lock in view.run.locks if lock.is_file() and not link]
        doomed.append(Removal(folder, disk_size(folder), (folder,), tuple(locks)))
    if not yes and not _agreed(len(doomed)):
        console.info("nothing was removed")
        return 0
    freed = sum(remove(item) for item in doomed)
    left = [item.path.name for item in doomed if os.path.lexists(item.path)]
    if len(left) < len(doomed):
        console.success(f"removed {human_size(freed)}")
    if left:
        console.info(f"next: inv stop {left[0]}, then inv runs.rm {' '.join(left)}")
    return BusyError.code if left else 0


def _agreed(count: int) -> bool:
    if not prompt.can_ask():
        raise UsageError(
            "nothing was removed: there is no terminal to ask on",
            todo="the same command with --yes",
        )
    return prompt.ask_yes_no(
        f"Remove {'this run' if count == 1 else f'these {count} runs'} with everything in it?",
        default=False,
    )
