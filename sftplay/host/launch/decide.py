"""The decision after a training's end: nothing, the hand-over to BnB, or another start. A pure
function of the records on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftplay.call import StageCall
from sftplay.errors import ProtocolError
from sftplay.handover import HandOver
from sftplay.host.protocol.call import same_training, training_of
from sftplay.host.protocol.records import Exit, Start

_STOPPED = (85, 130, 137, 143)  # ended by a person, a signal, or the kernel for want of memory
_KEPT = (0, 85)  # ends that leave a result or a checkpoint: there is nothing to hand over


@dataclass(frozen=True)
class LaunchState:
    """A run's state on disk, and what is asked for.

    Attributes:
        newest: the start with the highest number, with its end (None: no start yet).
        request: what its Unsloth attempt asked for, or why that can't be believed.
        ours: this launcher watched that end; reported: a person has been told of it.
        handed_from: the attempt whose hand-over was accepted, while no attempt after it is stamped;
            else empty.
        begun: backend of the newest attempt that is stamped, else empty.
    """

    call: StageCall
    enabled: bool
    max_lost_steps: int
    newest: Start | None = None
    end: Exit | None = None
    request: HandOver | ProtocolError | None = None
    ours: bool = False
    reported: bool = False
    handed_from: str = ""
    begun: str = ""


@dataclass(frozen=True)
class Finish:
    """Nothing more is started.

    Attributes:
        late: the hand-over came after too many steps. final: hand-overs are switched off. bad: what
            was wrong with it.
        waiting: it was stopped after it had asked to be handed over; the next start does that.
    """

    code: int
    late: bool = False
    final: bool = False
    waiting: bool = False
    bad: ProtocolError | None = None


@dataclass(frozen=True)
class Begin:
    """The next start.

    Attributes:
        handed_from: name of the attempt that it takes over from; empty: it starts, or continues, in
            `backend`.
        lost: nobody saw how the one before ended.
    """

    backend: str
    call: StageCall
    handed_from: str = ""
    lost: bool = False


def decide(state: LaunchState, backend: str) -> Finish | Begin:
    """The next move.

    Args:
        backend: the one that the config asks for.
    """
    start, end = state.newest, state.end
    if start is None or end is None:
        return _begin(state, backend)
    same = same_training(start.argv, state.call)
    resume = bool(state.call.options.get("resume"))
    if same or state.ours:
        handed = _hand_over(state, start, end)
        if isinstance(handed, Begin) or (handed is not None and not state.reported):
            return handed
    if state.ours:
        return Finish(70 if end.code is None else end.code)
    if end.lost:
        return _begin(state, backend, lost=not state.reported)
    if not state.reported and same and (end.code == 0 or not resume):
        return Finish(end.code or 0)
    return _begin(state, backend)


def counts(end: Exit) -> bool:
    """Return whether a hand-over file is acted on at once: not if its start was stopped, or killed
    for memory.
    """
    return end.code != 0 and end.code not in _STOPPED and not end.oom and not end.asked


def _hand_over(state: LaunchState, start: Start, end: Exit) -> Finish | Begin | None:
    """None where this end has nothing to do with a hand-over."""
    request = state.request
    if not start.attempt or not isinstance(request, HandOver):
        return _broken(state, start, end)
    if end.code in _KEPT or end.oom:  # killed for memory: BnB needs no less
        return Finish(137) if end.code == 79 else None
    if (
        not counts(end) and state.ours
    ):  # a person wanted the end: nothing is started now, and the request waits
        return Finish(143 if end.code in (79, None) else end.code, waiting=True)
    if request.step > state.max_lost_steps:
        return Finish(79, late=True)
    if not state.enabled:
        return Finish(79, final=True)
    return Begin("bnb", _handed(state.call, start.attempt), handed_from=start.attempt)


def _broken(state: LaunchState, start: Start, end: Exit) -> Finish | None:
    """Return the end for a hand-over that can't be believed, or breaks the rules. None: nobody
    asked for one.
    """
    request = state.request if start.attempt else None
    if isinstance(request, ProtocolError) and (counts(end) or end.code == 79):
        return Finish(70 if end.code in (79, None) else end.code, bad=request)
    if end.code != 79:
        return None
    if start.attempt:
        return Finish(70, bad=_protocol_error("it ended with 79 and left no hand-over file"))
    return Finish(
        70, bad=_protocol_error("a BnB attempt ended with 79")
    )  # it has nobody to hand over to


def _begin(state: LaunchState, backend: str, *, lost: bool = False) -> Begin:
    """A start again, or on with what was begun: a run that was handed over continues in the backend
    that it ended in.

    A hand-over whose attempt has not got as far as its stamp is done again, with `--resume` or
    without: it begins at step 0.
    """
    if state.handed_from and backend == "unsloth":
        return Begin(
            "bnb", _handed(state.call, state.handed_from), handed_from=state.handed_from, lost=lost
        )
    if state.call.options.get("resume") and state.begun:
        return Begin(state.begun, state.call, lost=lost)
    return Begin(backend, state.call, lost=lost)


def _handed(call: StageCall, attempt: str) -> StageCall:
    return training_of(call).with_options(handed_over_from=attempt)


def _protocol_error(what: str) -> ProtocolError:
    return ProtocolError(
        f"the protocol between launcher and stage is broken: {what}",
        todo="nothing more was started; see the attempt's train.log, or start the run in BnB: inv train-bnb",
    )
