"""A training in several ranks: what the front hands to them, and how one rank begins."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.attempts import Attempt
from sftplay.call import StageCall
from sftplay.errors import BusyError, MachineError, RefusedError
from sftplay.fencing import require_own_run
from sftplay.locks import hold
from sftplay.model.ranks.choose import Placement
from sftplay.model.training.plan import Plan, make_plan
from sftplay.places import data_folder
from sftplay.ranks import RanksPlan, World, plan_file, read_plan
from sftplay.runs import Run
from sftplay.stages import BY_NAME, Job

if TYPE_CHECKING:
    from sftplay.model.ranks.leaving import RankState
    from sftplay.model.ranks.meeting import Meeting

_SAMPLE = 4096  # numbers of each trained parameter that are compared between ranks


def refuse_while_ranks_save(run: Run) -> None:
    """Refuse a start while ranks whose front was killed still save their checkpoint.

    Raises:
        BusyError: they do (75).
    """
    if not run.ranks_lock.exists():
        return
    try:
        with hold(run.ranks_lock, who="a trainer"):
            return
    except BusyError as error:
        raise BusyError(
            "ranks of an earlier start are still saving their checkpoint",
            where=str(run.folder),
            todo="wait a moment, then repeat the same command",
        ) from error


def lead(plan: Plan, checkpoint: Path | None, meeting: Meeting, interface: str | None) -> None:
    """Start the ranks and wait for their end: the front of the only machine, or of machine 0.

    Raises:
        RanksError: with the code of the rank that decided. RankHandOverError: the backend can't run
            there. StoppedError: stopped before there was something to save.
    """
    from sftplay.model.ranks.front import Front, new_nonce, raise_end
    from sftplay.model.ranks.leaving import RankHandOverError

    folder = plan.attempt.ranks
    told = RanksPlan(
        nonce=new_nonce(),
        attempt=plan.attempt.name,
        nodes=plan.world.nodes,
        processes=plan.world.processes,
        world_size=plan.world.size,
        sharding=plan.world.sharding,
        data_hash=plan.facts["values_hash"]["train"],
        resume=checkpoint.name if checkpoint else None,
        handed_from=plan.fallback.from_attempt if plan.fallback else None,
    )
    end = Front(folder, plan.world, _argv(plan.job), meeting, interface).run(told)
    if end.record is not None and end.record.handover is not None:
        raise RankHandOverError(end.record.message, end.record.handover)
    raise_end(end, folder)


def join_ranks(world: World, gpus: int, device: str, at: Placement) -> None:
    """Start the ranks of another machine than 0: data, attempt and checkpoint are machine 0's work.

    Raises:
        As `lead`; MachineError: this machine has too few GPUs, or another project folder (69).
    """
    from sftplay.model.ranks.front import Front, raise_end
    from sftplay.model.ranks.meeting import follow, meeting_of

    meeting = meeting_of(at.rendezvous, at.interface, at.nodes, at.node)
    folder, told, argv = follow(meeting, at.node)
    if told.nodes != at.nodes:
        raise MachineError(
            f"machine 0 waits for {told.nodes} machines, and this one was started for {at.nodes}",
            todo="give the same --nodes on each machine",
        )
    if device == "cuda" and gpus and told.processes > gpus:
        raise MachineError(
            f"machine 0 starts {told.processes} ranks on each machine, and {gpus} GPUs are visible here",
            todo=f"--set train.processes={gpus} on all machines",
        )
    here = replace(world, processes=told.processes, sharding=told.sharding)
    raise_end(Front(folder, here, argv, meeting, at.interface).run(told), folder)


def _argv(job: Job) -> list[str]:
    """Return the stage's command line, with the values that the rows were made with."""
    call = StageCall(BY_NAME["train"], str(job.config_file), None, job.overrides, dict(job.options))
    return call.argv


def plan_of_rank(job: Job, run: Run, attempt: Attempt, state: RankState) -> Plan:
    """Return the plan of one rank. Data, attempt and checkpoint are as the front chose them.

    Raises:
        RefusedError: the rows are others than those that the front saw (76).
    """
    told = state.plan
    plan = make_plan(job, run, attempt, data_folder("tokenized", job.settings))
    if plan.facts["values_hash"]["train"] != told.data_hash:
        raise RefusedError(
            "the tokenized rows were made again while the training started",
            where=str(plan.tokenized),
            todo="run the same command again",
        )
    world = World(told.processes, told.nodes, state.node, told.sharding)
    return replace(plan, world=world, rank=state.rank, nonce=told.nonce)


def connect(plan: Plan, model: Any) -> None:
    """Connect a rank with the others, once its model is loaded: loading takes as long as it takes."""
    if plan.world.size == 1:
        return
    from torch.nn.parallel import DistributedDataParallel

    from sftplay.model.ranks.collectives import join

    if plan.device.value == "cuda":
        _spare_missing_links()
    join(plan.world, plan.device.value, plan.settings.train.ddp_timeout)
    if plan.world.sharding == "full":
        return
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    buffers = [name for name, _ in model.named_buffers()]
    # read from the same files by every rank: they need not be sent
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [*frozen, *buffers])


def _spare_missing_links() -> None:
    """Switch off direct links between GPUs of a kind that has none (GeForce RTX 40): accelerate ends
    the training otherwise.
    """
    from accelerate.utils import check_cuda_p2p_ib_support

    if not check_cuda_p2p_ib_support():
        os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
        console.info("these GPUs have no direct links: NCCL copies through the host's memory")


def require_same_weights(model: Any, *, sharded: bool) -> None:
    """Compare the trained weights of all ranks before the first step; shards differ by nature.

    Raises:
        MachineError: they differ (69).
    """
    from sftplay.model.ranks.collectives import gathered, rank_count

    if rank_count() == 1 or sharded:
        return
    digest = hashlib.blake2b(digest_size=7)
    for _, weight in model.named_parameters():
        if weight.requires_grad:
            sample = weight.detach().reshape(-1)[:_SAMPLE].float().cpu()
            digest.update(sample.numpy().tobytes())
    found = [one for (one,) in gathered([int.from_bytes(digest.digest(), "big")])]
    if len(set(found)) > 1:
        raise MachineError(
            "the ranks begin with different weights",
            todo="look for different versions or model files on the machines; then start a new run",
        )


def require_newest_start(plan: Plan) -> None:
    """Refuse to write where another start has taken the run or the attempt over.

    Raises:
        BusyError: it has (75). StorageError: the run's lock is lost (74).
    """
    require_own_run(plan.run)
    if plan.world.size > 1 and read_plan(plan_file(plan.attempt.ranks)).nonce != plan.nonce:
        raise BusyError(
            "another start trains this attempt now: nothing more is written here",
            where=str(plan.attempt.ranks),
            todo="end this one",
        )
