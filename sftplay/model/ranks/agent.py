"""Start the ranks of this machine by torch's elastic agent, and report how each of them ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, launch_agent

from sftplay.model.ranks.leaving import GRACE
from sftplay.model.ranks.meeting import Meeting
from sftplay.ranks import RankEnd, World

_AGENT_KILLS = 25  # seconds after a failure: what ends later was killed by the agent
_MEETING = 1800  # seconds for all machines to appear
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class AgentEnd:
    """View of an agent: ranks that ended with another code than 0, and the signal it received."""

    ends: list[RankEnd] = field(default_factory=list)
    asked: int = 0


class RankStreams(LogsSpecs):
    """Output of ranks: not redirected here; a rank writes to its own log by itself."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Return no file for any stream."""
        return LogsDest(
            stdouts=dict.fromkeys(envs, ""),
            stderrs=dict.fromkeys(envs, ""),
            tee_stdouts={},
            tee_stderrs={},
            error_files=dict.fromkeys(envs, ""),
        )

    @property
    def root_log_dir(self) -> str:
        """Return no folder."""
        return ""


def variables_for(world: World, *, cores: int, interface: str | None) -> dict[str, str]:
    """Return variables of ranks in addition to the agent's own."""
    traffic = interface or ("lo" if world.nodes == 1 else "")
    found = {"OMP_NUM_THREADS": str(max(cores // world.processes, 1))}
    if traffic:
        found |= {"GLOO_SOCKET_IFNAME": traffic}
    if interface:
        found |= {"NCCL_SOCKET_IFNAME": interface}
    return found


def run_ranks(
    world: World,
    meeting: Meeting,
    command: Sequence[str],
    variables: Mapping[str, str],
    run_id: str,
    *,
    grace: int = GRACE,
) -> AgentEnd:
    """Start the ranks of this machine, and wait until all of them have ended.

    A failure of one ends the others. A signal is passed on to all; the second one ends them at once.

    Args:
        command: of a rank, the program first.
        run_id: the same word on all machines.
    """
    _quiet_agent()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    config = LaunchConfig(
        min_nodes=world.nodes,
        max_nodes=world.nodes,
        nproc_per_node=world.processes,
        logs_specs=RankStreams(),
        run_id=run_id,
        rdzv_endpoint=f"{meeting.host}:{meeting.port}",
        rdzv_backend="static",
        rdzv_configs={"rank": world.node, "timeout": _MEETING},
        max_restarts=0,
        local_addr=meeting.address,
        signals_to_handle="SIGTERM,SIGINT",
        shutdown_timeout=grace,
        **_start_method(),
    )
    config.numa_options = None  # by default it starts ranks through numactl, which no image has
    ended = AgentEnd()
    try:
        with _signals_restored():
            _launch(config, command, ended)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return ended


def _start_method() -> dict[str, Any]:
    return {}


def _entrypoint(command: Sequence[str]) -> tuple[Any, list[Any]]:
    """Return what the agent calls for each rank: a program with its arguments."""
    return command[0], list(command[1:])


def _launch(config: LaunchConfig, command: Sequence[str], ended: AgentEnd) -> None:
    program, arguments = _entrypoint(command)
    try:
        launch_agent(config, program, arguments)
    except ChildFailedError as error:
        first = min(failure.timestamp for failure in error.failures.values())
        for rank, failure in error.failures.items():
            code = failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
            late = failure.timestamp - first > _AGENT_KILLS
            ended.ends.append(RankEnd(int(rank), code, killed=late or failure.exitcode == -15))
    except SignalException as error:
        ended.asked = int(error.sigval)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Ignore hang-ups meanwhile, as a training does; the agent installs handlers of its own."""
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _quiet_agent() -> None:
    """Silence the agent's own lines: the front says what happened."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher")):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def rank_command(argv: Sequence[str], plan: str) -> list[str]:
    """Return the command line of a rank: that of its stage, and the plan."""
    return [sys.executable, "-m", "sftplay", *argv, f"--plan={plan}"]
