"""Choice of the attempt that a training start works in; starts that can't be are refused."""

from __future__ import annotations

import os
from importlib.util import find_spec

from sftplay.attempts import Attempt
from sftplay.errors import MachineError, NotFoundError, RefusedError
from sftplay.runs import Run
from sftplay.stages import Job


def refuse_impossible_start(target: Run, *, resume: bool) -> None:
    """Refuse a second start, a resume of nothing, and a resume of what can't be known any more.

    Raises:
        NotFoundError: nothing to resume (66). RefusedError: begun already, or its stamp is gone
            (76).
    """
    if not resume:
        target.refuse_second_start()
    elif not target.has_begun():
        raise NotFoundError(
            f"there is no run {target.name} to resume",
            where=str(target.folder),
            todo="start it: the same command without --resume",
        )
    elif not any(attempt.has_begun for attempt in target.attempts()):
        raise RefusedError(
            "the stamp of the attempt that trained is gone",
            where=str(target.folder / "attempts"),
            todo=f"restore it; or start a new run: the same command with --run {target.free_name()}",
        )


def choose_attempt(job: Job, target: Run, source: Attempt | None, *, resume: bool) -> Attempt:
    """Return the newest attempt that began on resume, that of the launcher's number, else the next.

    Args:
        source: the attempt that handed over to this one.

    Raises:
        MachineError: Unsloth is asked for in another stack (69).
    """
    attempts = target.attempts()
    begun = [attempt for attempt in attempts if attempt.has_begun]
    if resume and begun:
        return begun[-1]
    backend = "bnb" if source else job.settings.backend
    if (
        backend == "unsloth"
        and not find_spec("unsloth")
        and os.environ.get("SFTPLAY_STACK") != "unsloth"
    ):
        raise MachineError("Unsloth is not in this environment", todo=_instead_of_unsloth())
    number = job.options.get("attempt") or (attempts[-1].number + 1 if attempts else 1)
    return target.attempt(number, backend)


def _instead_of_unsloth() -> str:
    """Return the commands that start Unsloth's stack, or train without it."""
    compose = os.environ.get("SFTPLAY_GOES_ON")  # set by compose.yaml
    if compose:
        return (
            "on a machine with an NVIDIA GPU, build its image: docker compose -f compose.setup.yaml build unsloth\n"
            f"or train with BitsAndBytes: {compose}"
        )
    return (
        "start its stack: inv train-unsloth; or train with BitsAndBytes: inv train-bnb, or "
        "--set backend=bnb"
    )
