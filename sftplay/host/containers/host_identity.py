"""Facts about the person who starts a container, from which its specification is made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sftplay.decision import Decision
from sftplay.errors import UsageError
from sftplay.host.containers.variables import NETWORK_VARIABLES, PASSED_VARIABLES
from sftplay.host.system.machine import Machine
from sftplay.places import cache_folder
from sftplay.setup_files import MEMORY_SHARE

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class HostIdentity:
    """The user, folders and limits that a container gets.

    Attributes:
        root: the project's folder; cache: the model cache's.
        user: `uid:gid` that containers run as, because: why.
        gpus: device ids that CUDA_VISIBLE_DEVICES names, else `all`.
        columns: width of the terminal, 0 without one; terminal: its type.
        passed: variables of the person's environment that a container may see.
    """

    root: str
    cache: str
    user: str
    because: str
    cores: int
    memory: int | None = None
    gpus: tuple[str, ...] = ("all",)
    columns: int = 0
    terminal: str = ""
    passed: Mapping[str, str] = field(default_factory=dict)


def identify_host(
    facts: Machine,
    *,
    rootless: bool,
    writes: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> HostIdentity:
    """The person who starts this process, in the working directory.

    Args:
        writes: the folder that is written into (default: the working directory): for root its owner
            counts.
    """
    root = Path.cwd()
    owner = next(
        folder
        for folder in ((writes or root).absolute(), *(writes or root).absolute().parents)
        if folder.exists()
    ).stat()
    user = choose_user(
        (os.geteuid(), os.getegid()), (owner.st_uid, owner.st_gid), rootless=rootless
    )
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    return HostIdentity(
        root=str(root),
        cache=str(cache_folder().absolute()),
        user=user.value,
        because=user.reason,
        cores=facts.cores,
        memory=memory_limit(environ.get("SFTPLAY_MEMORY"), facts.memory),
        gpus=tuple(word.strip() for word in visible.split(",") if word.strip()) or ("all",),
        columns=os.get_terminal_size(2).columns if os.isatty(2) else 0,
        terminal=environ.get("TERM", ""),
        passed={
            name: environ[name]
            for name in (*PASSED_VARIABLES, *NETWORK_VARIABLES)
            if environ.get(name)
        },
    )


def choose_user(
    caller: tuple[int, int], owner: tuple[int, int], *, rootless: bool
) -> Decision[str]:
    """`uid:gid` for containers, so that what they write belongs to the person.

    Args:
        caller: uid and gid of this process; owner: of the project's folder.
        rootless: the engine itself runs as the caller, who is 0 inside.
    """
    if rootless:
        return Decision("0:0", "the engine is rootless: 0 inside is you outside")
    if caller[0]:
        return Decision(f"{caller[0]}:{caller[1]}", "your own")
    if owner[0]:
        return Decision(f"{owner[0]}:{owner[1]}", "the owner of the project's folder, not root")
    # Root without capabilities writes what is root's own and nothing else: no worse than any other
    # user.
    return Decision("0:0", "you are root and the project is root's; without any capability")


def memory_limit(asked: str | None, memory: int) -> int:
    """Bytes that a container may use: SFTPLAY_MEMORY (`8g`, `500m`), else nearly all there are.

    Raises:
        UsageError: not a size (2).
    """
    if not asked:
        return int(memory * MEMORY_SHARE)
    number, unit = (asked[:-1], asked[-1].lower()) if not asked[-1].isdigit() else (asked, "")
    if not number.isdecimal() or unit not in _UNITS:
        raise UsageError(
            f"SFTPLAY_MEMORY requires a size, got {asked!r}", todo="for example: SFTPLAY_MEMORY=8g"
        )
    return int(number) * _UNITS[unit]
