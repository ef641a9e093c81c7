"""`inv push RUN OWNER/NAME`: show what would be published, ask, publish."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sftplay import console
from sftplay.call import StageCall
from sftplay.environment import token_file
from sftplay.errors import UsageError
from sftplay.host.launch.request import LaunchRequest
from sftplay.host.launch.stage import start
from sftplay.host.ui import prompt
from sftplay.places import REPOSITORY
from sftplay.stages import BY_NAME


def run(
    names: Sequence[str], *, merged: bool, gguf: bool, private: bool, yes: bool, runner: str
) -> int:
    """Publish a run, after a look and a question. Returns the exit code.

    Raises:
        UsageError: not a run and a repository; or nobody can be asked and `yes` was not given (2).
        NotFoundError: HF_TOKEN_PATH names no file (66).
    """
    if len(names) != 2:
        raise UsageError(
            "push requires a run and a repository",
            todo="inv push RUN OWNER/NAME; inv runs lists runs",
        )
    name, repository = names
    _require_repository(name, repository)
    token_file(os.environ)
    options = {"to": repository, "merged": merged, "gguf": gguf, "private": private}
    call = StageCall(BY_NAME["push"], None, name, (), options)
    if not yes:
        code = start(LaunchRequest(call, runner))
        if code:
            return code
        if not prompt.can_ask():
            raise UsageError(
                "nothing was sent: there is no terminal to ask on",
                todo="the same command with --yes",
            )
        if not prompt.ask_yes_no(f"Publish this as {repository}?", default=False):
            console.info("nothing was sent")
            return 0
    return start(LaunchRequest(call.with_options(yes=True), runner))


def _require_repository(name: str, repository: str) -> None:
    """Raise UsageError (2) where the second word is no OWNER/NAME; the two may be swapped."""
    if REPOSITORY.fullmatch(repository):
        return
    if REPOSITORY.fullmatch(name):
        raise UsageError(
            f"the run comes first, then the repository: {name} is no run, {repository} no repository",
            todo=f"inv push {repository} {name}",
        )
    raise UsageError(
        f"{repository} is no repository of the hub: a repository is OWNER/NAME",
        todo=f"inv push {name} OWNER/{repository.rpartition('/')[2] or 'NAME'}",
    )
