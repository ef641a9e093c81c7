"""Around an Unsloth attempt: a failure of the backend itself becomes a hand-over, everything else
stays what it is.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sftplay import console
from sftplay.attempts import Attempt
from sftplay.errors import HandOverError, MachineError, ProtocolError, SftplayError
from sftplay.handover import (
    MAX_MESSAGE,
    NONCE_VARIABLE,
    REASONS,
    HandOver,
    Phase,
    read_untrusted,
    write,
)
from sftplay.model.ranks.leaving import RankHandOverError
from sftplay.model.unsloth.failures import describe, reason_of
from sftplay.model.unsloth.probe import Verdict, versions
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.stamp import Fallback


class BackendUnusableError(Exception):
    """The probe's verdict, on its way to `handing_over`. Nobody else catches it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass
class Progress:
    """Phase that the attempt has reached; the training moves it on.

    Attributes:
        step: optimizer steps that a hand-over would throw away.
    """

    phase: Phase = "probe"
    step: int = 0
    device: str = ""
    notes: list[str] = field(default_factory=list)


@contextmanager
def handing_over(
    job: Job, run: Run, attempt: Attempt, *, in_rank: bool = False
) -> Iterator[Progress]:
    """Classify what is raised inside; a hand-over writes handover.json and leaves the process with
    79.

    Args:
        in_rank: this process is one rank of several: their front writes the file.

    Raises:
        RankHandOverError: in a rank, instead (79).
        MachineError: Unsloth failed after more steps than `backend_fallback.max_lost_steps` (69).
        Whatever else was raised inside, unchanged.
    """
    progress = Progress()
    if attempt.backend != "unsloth":
        yield progress
        return
    try:
        yield progress
    except BackendUnusableError as error:
        verdict = error.verdict
    except RankHandOverError as error:
        if in_rank:
            raise
        asked = error.request
        progress.phase, progress.step = asked["phase"], asked["step"]
        progress.device = asked["device"]
        verdict = Verdict(asked["reason"], asked["exception"], asked["message"])
    except SftplayError:
        raise
    except BaseException as error:
        reason = reason_of(error)
        if reason is None:
            raise
        _keep_traceback(attempt)
        verdict = Verdict(reason, describe(error).name, str(error))
    else:
        return
    if progress.step > job.settings.backend_fallback.max_lost_steps:
        raise _too_late(job, run, verdict, progress.step)
    if in_rank:
        raise _of_rank(progress, verdict)
    _leave(job, run, attempt, progress, verdict)


def accepted(job: Job, run: Run) -> tuple[Attempt, Fallback] | None:
    """The attempt that asked for this one (`--handed-over-from`), with its reason; None where there
    is none.

    Raises:
        ProtocolError: its request is not there, or not valid (70).
    """
    name = job.options.get("handed_over_from")
    if not name:
        return None
    source = next((attempt for attempt in run.attempts() if attempt.name == name), None)
    found = (
        read_untrusted(source.handover, run=run.name, attempt=name, nonce=None) if source else None
    )
    if source is None or found is None:
        raise ProtocolError(
            f"the attempt {name} has asked for nothing",
            where=str(run.folder / "attempts" / name),
            todo="--handed-over-from is for the launcher; start the run without it",
        )
    return source, Fallback(from_attempt=name, reason=found.reason, message=found.message)


def _too_late(job: Job, run: Run, verdict: Verdict, step: int) -> MachineError:
    return MachineError(
        f"Unsloth failed after {step} steps ({verdict.exception}: {verdict.message[:300]}); "
        f"later than backend_fallback.max_lost_steps ({job.settings.backend_fallback.max_lost_steps}) nothing is handed over",
        where=str(run.folder),
        todo=f"continue in Unsloth from the last checkpoint: inv train-unsloth --config {run.config} --resume\n"
        f"or start again in BnB: inv train-bnb --config {job.config_file} --run {run.free_name()}",
    )


def _of_rank(progress: Progress, verdict: Verdict) -> RankHandOverError:
    request = {
        "phase": progress.phase,
        "reason": verdict.reason,
        "exception": verdict.exception,
        "message": verdict.message[:MAX_MESSAGE],
        "step": progress.step,
        "device": progress.device,
    }
    return RankHandOverError(f"Unsloth can't train here: {verdict.message[:300]}", request)


def _leave(job: Job, run: Run, attempt: Attempt, progress: Progress, verdict: Verdict) -> NoReturn:
    assert verdict.reason is not None
    asked = HandOver(
        run=run.name,
        attempt=attempt.name,
        nonce=os.environ.get(NONCE_VARIABLE, ""),
        phase=progress.phase,
        reason=verdict.reason,
        exception=verdict.exception,
        message=verdict.message,
        step=progress.step,
        device=progress.device,
        versions=versions(),
    )
    write(attempt.folder, asked)
    run.record_event(
        "handed over",
        attempt=attempt.name,
        phase=asked.phase,
        reason=asked.reason,
        step=asked.step,
        to=asked.target,
    )
    console.failure(
        HandOverError(
            f"Unsloth can't train here: {REASONS[verdict.reason]} ({verdict.exception}: {verdict.message[:300].strip()})",
            where=str(attempt.handover),
            todo=_next_step(job, attempt, launched=bool(asked.nonce)),
        )
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        HandOverError.code
    )  # at once: what is left of Unsloth's process may crash in its teardown


def _next_step(job: Job, attempt: Attempt, *, launched: bool) -> str:
    """A launcher starts the other stack; without one (docker compose, or by hand) a person does."""
    said = [
        override for override in job.overrides if not override.startswith("run.name=")
    ]  # --run says it
    sets = "".join(f" --set {shlex.quote(override)}" for override in said)
    if not job.settings.backend_fallback.enabled:
        return f"backend_fallback.enabled is false: nothing more is started; inv train-bnb --config {job.config_file} would"
    if launched:
        return "the run continues in the BnB stack"
    begins = os.environ.get(
        "SFTPLAY_GOES_ON", "train"
    )  # compose.yaml says there how its own command begins
    run = f" --run {job.run_name}" if job.run_name != Path(job.config_file).stem else ""
    return (
        "continue in the bnb stack (cpu without a GPU): "
        f"{begins} --config {job.config_file}{run}{sets} --handed-over-from {attempt.name}"
    )


def _keep_traceback(attempt: Attempt) -> None:
    import traceback

    console.log(f"{attempt.name} failed:\n{traceback.format_exc()}")
