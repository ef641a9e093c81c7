"""Ranks of one training: the plan that its front writes, and the records that ranks leave.

The front is the stage's process. It holds the run's lock, prepares everything and starts the ranks;
they train. Host and stage read the same files, so that a status shows what a rank wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sftplay.errors import ProtocolError, SftplayError
from sftplay.files import write_json
from sftplay.untrusted import read_json

SCHEMA = 1
PLAN_VARIABLE = "SFTPLAY_PLAN"  # set by a front for its ranks: path of plan.json
PLAN = "plan.json"
RESULT = "result.json"
NATIVE = (134, 135, 137, 139)  # SIGABRT, SIGBUS, SIGKILL, SIGSEGV
STOPPED = (85, 130, 143)

Cause = Literal["own", "peer", "signal"]


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        processes: ranks of each node; nodes: machines; node: number of this one.
        sharding: `full` where weights, gradients and optimizer states are divided among the ranks.
    """

    processes: int = 1
    nodes: int = 1
    node: int = 0
    sharding: str = "none"

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.processes * self.nodes

    def __str__(self) -> str:
        machines = f" on {self.nodes} machines" if self.nodes > 1 else ""
        shards = ", weights sharded" if self.sharding == "full" else ""
        return f"{self.size} rank{'s' if self.size > 1 else ''}{machines}{shards}"


ALONE = World()


@dataclass(frozen=True)
class RanksPlan:
    """plan.json: what every rank of one start has to know. Written by the front of node 0.

    Attributes:
        nonce: a random word of this start; records with another one belong to an earlier start.
        attempt: folder name of the attempt.
        resume: name of the checkpoint that the ranks begin from; None: from the beginning.
        handed_from: name of the attempt that handed over to this one.
    """

    nonce: str
    attempt: str
    nodes: int
    processes: int
    world_size: int
    sharding: str
    data_hash: str
    resume: str | None = None
    handed_from: str | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class RankRecord:
    """RRR.json: how a rank ended, written by itself.

    Attributes:
        cause: `own`: something failed in this rank, or it is done; `peer`: a collective failed
            because of another rank; `signal`: it was stopped.
        error: class of the failure; message, where, todo: what a person is told.
        waited: the failure is a collective that nobody answered in time.
        handover: fields of a hand-over request (code 79).
    """

    nonce: str
    rank: int
    node: int
    code: int
    step: int
    time: float
    cause: Cause
    error: str = ""
    message: str = ""
    where: str = ""
    todo: str = ""
    waited: bool = False
    handover: dict[str, Any] | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class RankEnd:
    """End of a rank as the operating system saw it.

    Attributes:
        code: exit code, 128 + signal where one ended it.
        killed: by the agent, after another rank's failure.
    """

    rank: int
    code: int
    killed: bool = False


@dataclass(frozen=True)
class RanksEnd:
    """The end of all ranks together.

    Attributes:
        rank: the one that decided; None: no single one.
        record: what it left, if it left something.
    """

    code: int
    reason: str
    rank: int | None = None
    record: RankRecord | None = field(default=None, compare=False)


def plan_file(folder: Path) -> Path:
    """Path of the plan in an attempt's folder of ranks."""
    return folder / PLAN


def record_file(folder: Path, rank: int) -> Path:
    """Path of a rank's record."""
    return folder / f"{rank:03d}.json"


def log_file(folder: Path, rank: int) -> Path:
    """Path of the output of a rank; rank 0 writes to the run's own log."""
    return folder / f"{rank:03d}.log"


def write_plan(folder: Path, plan: RanksPlan) -> Path:
    """Write plan.json after removing what an earlier start of the attempt left."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
    path = plan_file(folder)
    write_json(path, asdict(plan))
    return path


def read_plan(path: Path) -> RanksPlan:
    """Read plan.json.

    Raises:
        ProtocolError: it is not there, or not one (70).
    """
    try:
        plan = RanksPlan(**read_json(path))
        if plan.schema != SCHEMA or plan.world_size != plan.nodes * plan.processes:
            raise ValueError("its numbers contradict each other")
        return plan
    except (SftplayError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"no usable plan for the ranks: {error}",
            where=str(path),
            todo="--plan is for the training's own processes; start it without",
        ) from error


def write_record(folder: Path, record: RankRecord) -> None:
    """Write a rank's record whole or not at all."""
    write_json(record_file(folder, record.rank), asdict(record))


def read_records(folder: Path, nonce: str) -> list[RankRecord]:
    """Return the records of the start with this nonce, by rank; what can't be read is left out."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9][0-9].json")):
        try:
            record = RankRecord(**read_json(path))
        except (SftplayError, TypeError):
            continue
        if record.nonce == nonce:
            found.append(record)
    return found


def write_result(folder: Path, nonce: str, end: RanksEnd) -> None:
    """Write the job's exit code, which scripts of a cluster read."""
    write_json(
        folder / RESULT,
        {"nonce": nonce, "code": end.code, "rank": end.rank, "reason": end.reason},
    )


def write_ends(folder: Path, nonce: str, node: int, ends: Iterable[RankEnd]) -> None:
    """Write how the ranks of a node ended, for the front of node 0."""
    value = {"nonce": nonce, "ends": [asdict(end) for end in ends]}
    write_json(folder / f"ends-{node}.json", value)


def read_ends(folder: Path, nonce: str, node: int) -> list[RankEnd] | None:
    """Return what the front of another node saw; None while it has not written it."""
    try:
        value = read_json(folder / f"ends-{node}.json")
        if value["nonce"] != nonce:
            return None
        return [RankEnd(**one) for one in value["ends"]]
    except (SftplayError, TypeError, KeyError):
        return None


def here_file(folder: Path, node: int) -> Path:
    """Path of the file by which a node shows that it sees the same folder."""
    return folder / f"here-{node}"
