"""The front of a training with ranks: writes their plan, starts them, and says how they ended."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.errors import EXIT_MEANINGS, MachineError, SftplayError, StoppedError
from sftplay.model.ranks import agent
from sftplay.model.ranks.agent import AgentEnd
from sftplay.model.ranks.meeting import Meeting, announce
from sftplay.ranks import (
    NATIVE,
    PLAN_VARIABLE,
    RankEnd,
    RankRecord,
    RanksEnd,
    RanksPlan,
    World,
    log_file,
    plan_file,
    read_ends,
    read_records,
    write_ends,
    write_plan,
    write_result,
)
from sftplay.ranks_end import ranks_end

_OTHERS = 20  # seconds for the files of other machines to show up


class RanksError(SftplayError):
    """A training with ranks that failed: the code is that of the rank that decided."""

    def __init__(self, code: int, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what, where=where, todo=todo)
        self.code = code


@dataclass(frozen=True)
class Front:
    """The process that starts the ranks of one machine.

    Attributes:
        folder: `ranks/` of the attempt. argv: command line of the stage, without the program.
        interface: network interface of the ranks' traffic; None: chosen by the library.
    """

    folder: Path
    world: World
    argv: Sequence[str]
    meeting: Meeting
    interface: str | None = None

    def run(self, plan: RanksPlan) -> RanksEnd:
        """Start the ranks of this machine and wait for their end. Machine 0 tells the others first.

        Raises:
            MachineError: another machine did not come, or the folder is not shared (69).
        """
        path = plan_file(self.folder)
        if self.world.node == 0:
            write_plan(self.folder, plan)
            if self.world.nodes > 1:
                announce(self.meeting, self.folder, plan, self.argv)
        cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        variables = agent.variables_for(self.world, cores=cores, interface=self.interface)
        variables[PLAN_VARIABLE] = str(path)
        first = "output of rank 0 here, of the others" if self.world.node == 0 else "their output"
        console.info(
            f"{self.world}: {first} in {self.folder}; {variables['OMP_NUM_THREADS']} threads each"
        )
        command = agent.rank_command(self.argv, str(path))
        ended = agent.run_ranks(self.world, self.meeting, command, variables, plan.nonce)
        end = self._judge(plan, ended)
        if self.world.node == 0:
            write_result(self.folder, plan.nonce, end)
        return end

    def _judge(self, plan: RanksPlan, ended: AgentEnd) -> RanksEnd:
        first = self.world.node * self.world.processes
        mine = range(first, first + self.world.processes)
        if self.world.nodes == 1:
            return ranks_end(mine, read_records(self.folder, plan.nonce), ended.ends, ended.asked)
        write_ends(self.folder, plan.nonce, self.world.node, ended.ends)
        if self.world.node == 0:
            ends = [*ended.ends, *self._of_others(plan)]
            records = self._records_of(range(self.world.size), plan, ends)
            return ranks_end(range(self.world.size), records, ends, ended.asked)
        records = self._records_of(mine, plan, ended.ends)
        seen = [one for one in records if one.rank in mine or one.cause == "own"]
        return ranks_end(mine, seen, ended.ends, ended.asked)

    def _records_of(
        self, ranks: Sequence[int], plan: RanksPlan, ends: Sequence[RankEnd]
    ) -> list[RankRecord]:
        """Records as they show up in a shared folder: those of ranks that crashed never do."""
        crashed = {end.rank for end in ends if end.code in NATIVE}
        deadline = time.monotonic() + _OTHERS
        while True:
            found = read_records(self.folder, plan.nonce)
            missing = set(ranks) - crashed - {record.rank for record in found}
            if not missing or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def _of_others(self, plan: RanksPlan) -> list[RankEnd]:
        """Ends of the other machines' ranks, as far as their fronts tell them in time."""
        deadline = time.monotonic() + _OTHERS
        found: dict[int, list[RankEnd]] = {}
        while len(found) < self.world.nodes - 1 and time.monotonic() < deadline:
            for node in range(1, self.world.nodes):
                told = read_ends(self.folder, plan.nonce, node)
                if told is not None:
                    found[node] = told
            time.sleep(0.1)
        return [end for ends in found.values() for end in ends]


def new_nonce() -> str:
    """Return a random word for one start."""
    return secrets.token_hex(8)


def raise_end(end: RanksEnd, folder: Path) -> None:
    """Raise what a job's end means for the front; nothing if all ranks are done.

    Raises:
        RanksError, StoppedError: see `Front.run`.
    """
    if end.code == 0:
        return
    record = end.record
    if end.code in (130, 143):
        raise StoppedError(
            record.message if record else end.reason,
            signum=end.code - 128,
            todo="run the same command again; nothing half-written was left",
        )
    quiet = end.rank is None or end.code in (69, 85)
    who = "" if quiet else f"rank {end.rank}: "
    where = record.where if record else ""
    raise RanksError(
        end.code,
        who + (end.reason or EXIT_MEANINGS.get(end.code, "")),
        where=where,
        todo=_advice(end, folder),
    )


def _advice(end: RanksEnd, folder: Path) -> str:
    if end.record is not None and end.record.todo:
        return end.record.todo
    log = log_file(folder, end.rank) if end.rank else folder.parent / "train.log"
    if end.code == MachineError.code:
        return (
            f"look at {log}: was the rank killed, or is it slow? "
            "--set train.ddp_timeout=SECONDS gives it more time"
        )
    return f"{EXIT_MEANINGS.get(end.code, 'look at its output')}; its output: {log}"
