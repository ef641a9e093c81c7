"""The end of a training, and what led to it, in words for the person."""

from __future__ import annotations

import signal

from sftplay import console
from sftplay.errors import EXIT_MEANINGS
from sftplay.files import free_space
from sftplay.handover import HandOver
from sftplay.host.launch.decide import Finish, LaunchState
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.local.training import TAIL
from sftplay.host.protocol import records
from sftplay.host.protocol.ends import explain_end
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import StopSignals
from sftplay.host.ui.terminal import copy, settled
from sftplay.untrusted import read_tail


def finish(launch: ResolvedLaunch, state: LaunchState, move: Finish, signals: StopSignals) -> int:
    """The end for the person and for the shell."""
    run, start, end = launch.run, state.newest, state.end
    assert start is not None
    assert end is not None
    if not state.ours:
        _show_tail(launch, start)
        console.info(
            f"the training started {start.created} ended meanwhile ({end.ended}) with code {end.code}"
        )
    records.seen_file(run.launch, start.number).touch()
    if move.late or move.final:
        _report_final(launch, state, late=move.late)
    if move.bad is not None:
        console.failure(move.bad)
        return move.code
    if move.waiting:
        console.info(
            "it had asked to be handed over to BnB before it was ended: the same command does that"
        )
    if end.asked == "kill":
        console.warning(
            "killed; earlier checkpoints are complete: --resume continues from the newest"
        )
        return 130
    if move.code == 143 and signals.stops and signals.stops[0] == signal.SIGINT:
        return 130
    if end.lost:
        console.error(
            "the training is gone: its container was removed, or its supervisor was killed"
        )
        console.info("next: the same command reports what is left; with --resume it continues")
    elif move.code == 74:  # the stage's own words may have found no room
        console.error(
            f"train ended with 74: {EXIT_MEANINGS[74]}; {free_space(run.folder)} left in {run.folder}"
        )
        console.info(
            "next: free some space; the same command with --resume continues, without it if nothing was trained yet"
        )
    elif start.is_process:
        explain_end("train", move.code)
    return move.code


def report_hand_over(asked: HandOver, stack: str, runner: str) -> None:
    """The one warning of a hand-over: why, and what happens now."""
    attempt = int(asked.attempt.partition("-")[0]) + 1
    console.warning(
        f"Unsloth can't train here, {asked}: continuing with BnB from step 0, "
        f"as attempt {attempt:02d}-bnb in the {stack} stack ({runner} runner)"
    )


def _report_final(launch: ResolvedLaunch, state: LaunchState, *, late: bool) -> None:
    request, run = state.request, launch.run
    assert isinstance(request, HandOver)
    if late:
        console.error(
            f"Unsloth failed after {request.step} steps ({request}): past backend_fallback.max_lost_steps "
            f"({state.max_lost_steps}) no trained steps are discarded automatically"
        )
        console.info(
            f"next: continue in Unsloth from its last checkpoint: inv train-unsloth --run {run.name} --resume"
        )
        console.info(f"next: or start again in BnB: inv train-bnb --run {run.free_name()}")
    else:
        console.error(f"Unsloth can't train here, {request}; and backend_fallback.enabled is off")
        console.info("next: inv train-bnb trains with BnB; or leave backend_fallback.enabled on")


def report_earlier_end(launch: ResolvedLaunch, start: Start, end: Exit, *, handed: bool) -> None:
    """The end of a start that another launcher watched, before the next one begins."""
    _show_tail(launch, start)
    if handed:
        console.info(f"the attempt started {start.created} asked to be handed over: doing that now")
    elif end.lost:
        console.warning(
            f"the training started {start.created} was cut off; its last whole checkpoint is good"
        )
    else:
        console.info(
            f"the training started {start.created} ended meanwhile ({end.ended}) with code {end.code}"
        )
    if not handed:
        records.seen_file(launch.run.launch, start.number).touch()


def _show_tail(launch: ResolvedLaunch, start: Start) -> None:
    path = records.output_file(launch.run.launch, start.number)
    if path.is_file():
        copy(settled(read_tail(path, TAIL)).encode())
