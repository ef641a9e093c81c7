"""Meeting of several machines before their ranks start: one plan, and one shared project folder."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from sftplay import console
from sftplay.errors import MachineError, ProtocolError
from sftplay.files import write_text
from sftplay.ranks import RanksPlan, here_file, plan_file, read_plan

_APPEARS = 1800.0  # seconds for all machines to connect, and for machine 0 to be ready
_SHOWS = 60.0  # seconds for a file to show up in a shared folder
_KEY = "sftplay/plan"


@dataclass(frozen=True)
class Meeting:
    """Address at which the ranks of all machines find each other.

    Attributes:
        host, port: of node 0. address: of this machine, as the others reach it.
        store: kept open by machine 0 while its ranks run; None where there is one machine.
    """

    host: str
    port: int
    address: str
    store: Any = None


def meeting_of(rendezvous: str | None, interface: str | None, nodes: int, node: int = 0) -> Meeting:
    """Return where the ranks meet: on loopback where there is one machine. Of several, machine 0
    listens from now on, and the others connect.

    Raises:
        MachineError: the port is in use, or machine 0 does not answer (69).
    """
    if nodes == 1 or rendezvous is None:
        return Meeting("127.0.0.1", free_port(), "127.0.0.1")
    host, _, port = rendezvous.rpartition(":")
    host = host.strip("[]")
    address = address_of(interface) or socket.gethostname()
    if node:
        console.info(f"waiting for machine 0 at {rendezvous}")
    try:
        store = TCPStore(
            host,
            int(port),
            is_master=node == 0,
            wait_for_workers=False,
            timeout=timedelta(seconds=_APPEARS),
            multi_tenant=True,
        )
    except (DistError, RuntimeError) as error:
        raise MachineError(
            f"the machines can't meet at {rendezvous}: {str(error).splitlines()[0][:200]}",
            todo="the address is that of machine 0 as the others reach it, with a port that is free there",
        ) from error
    return Meeting(host, int(port), address, store)


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(interface: str | None) -> str | None:
    """Return the IPv4 address of a network interface.

    Raises:
        MachineError: this machine has no such interface (69).
    """
    if interface is None:
        return None
    import psutil

    interfaces = psutil.net_if_addrs()
    found = [one for one in interfaces.get(interface, []) if one.family == socket.AF_INET]
    if not found:
        raise MachineError(
            f"this machine has no interface {interface} with an IPv4 address",
            todo=f"--interface takes one of: {', '.join(sorted(interfaces))}",
        )
    return str(found[0].address)


def announce(meeting: Meeting, folder: Path, plan: RanksPlan, argv: Sequence[str]) -> None:
    """Tell the other machines what to start, and wait until all of them see the same folder.

    Raises:
        MachineError: one did not come, or sees another folder (69).
    """
    told = {"folder": folder.as_posix(), "nonce": plan.nonce, "argv": list(argv)}
    meeting.store.set(_KEY, json.dumps(told))
    others = range(1, plan.nodes)
    try:
        meeting.store.wait([f"sftplay/{node}" for node in others])
    except (DistError, RuntimeError) as error:
        raise MachineError(
            f"not all of {plan.nodes} machines have come within {_APPEARS / 60:.0f} minutes",
            todo="start the same command on each, with --node-rank 0, 1, …",
        ) from error
    missing = [node for node in others if not _shows(here_file(folder, node), plan.nonce)]
    if missing:
        raise _not_shared(folder, f"machine {missing[0]} does not write into it")


def follow(meeting: Meeting, node: int) -> tuple[Path, RanksPlan, list[str]]:
    """Return folder, plan and command line that machine 0 announces.

    Raises:
        MachineError: machine 0 has ended, or its project folder is not this one (69).
    """
    try:
        told = json.loads(meeting.store.get(_KEY))
        folder, nonce, argv = Path(told["folder"]), str(told["nonce"]), list(told["argv"])
    except (DistError, RuntimeError) as error:
        raise MachineError(
            "machine 0 ended before the ranks were started",
            todo="its own message says why; then start all machines again",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(
            "machine 0 told something unknown", todo="use the same sftplay on all machines"
        ) from error
    meeting.store.set(f"sftplay/{node}", "1")
    if not _shows(plan_file(folder), nonce):
        raise _not_shared(folder, "the plan of machine 0 is not there")
    write_text(here_file(folder, node), nonce)
    return folder, read_plan(plan_file(folder)), argv


def _shows(path: Path, nonce: str) -> bool:
    """Return whether a file with this start's nonce shows up in time."""
    deadline = time.monotonic() + _SHOWS
    while time.monotonic() < deadline:
        try:
            if nonce in path.read_text(encoding="utf-8"):
                return True
        except OSError:
            pass  # not there yet: network file systems are late
        time.sleep(0.2)
    return False


def _not_shared(folder: Path, why: str) -> MachineError:
    return MachineError(
        f"the project is not a shared folder: {why}",
        where=str(folder),
        todo="all machines need the same project folder, for example on NFS; "
        "inv doctor --shared tests one",
    )
