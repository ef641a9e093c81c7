"""One training, in whatever runner: started, watched, found again, handed over once. It survives
being killed.

Everything is read from locks, labels and records, nothing is kept in memory alone, so a launcher
that is killed at any moment
and started again continues: it watches the training that still runs, harvests one that ended, does
the hand-over that was due, and
never starts a second training. Each turn of the loop looks again; `decide` says what follows from
what it saw.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from sftplay import console
from sftplay.attempts import Attempt
from sftplay.errors import NotFoundError, ProtocolError, SftplayError
from sftplay.handover import HandOver
from sftplay.host.containers import training as container_training
from sftplay.host.containers.errors import is_gone
from sftplay.host.containers.ownership import hand_to_owner
from sftplay.host.estimate.cpu_consent import require_cpu_consent
from sftplay.host.launch import messages, observe, preflight, second
from sftplay.host.launch.decide import Begin, Finish, LaunchState, decide
from sftplay.host.launch.prefetch import fetch_missing
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.launch.runner import RunningTraining, TrainingRunner
from sftplay.host.local.training import LocalTraining
from sftplay.host.protocol import records
from sftplay.host.protocol.launch_lock import LaunchLock
from sftplay.host.protocol.records import Start
from sftplay.host.protocol.signals import stop_signals
from sftplay.locks import is_held
from sftplay.runs import Run

_TURNS = 8  # of the loop; two starts and what was left behind take four
_HUNG_UP = 128 + signal.SIGHUP


@dataclass(frozen=True)
class TrainingLaunch:
    """A training, ready to be started or found again."""

    resolved: ResolvedLaunch

    def make_ready(self) -> int:
        """Fetch what is missing, and get consent where a GPU is. Returns the exit code of the
        fetch.

        Raises:
            MachineError: training on this CPU would take too long, and nobody agreed (69).
        """
        code = fetch_missing(self.resolved)
        if not code and self._falls_back_to_cpu():
            require_cpu_consent(self.resolved.settings, self.resolved.machine)
        return code

    def run(self) -> int:
        """Train to the end, or continue watching the training that this command started before.

        Returns:
            The stage's exit code; 129 where this terminal was closed and the training continues.

        Raises:
            BusyError: a training with other arguments holds the run (75).
            RefusedError: the run already exists and `--resume` was not given (76).
            MachineError: no engine, no image, or the engine went away (69).
        """
        launch, run = self.resolved, self.resolved.run
        self._require_possible()
        with stop_signals() as signals, contextlib.ExitStack() as whole:
            held, watched = second.take_terminal(launch, signals)
            if held is None:
                return _HUNG_UP if signals.hung_up else 128 + signals.stops[0]
            whole.enter_context(self._terminal(held))
            for _ in range(_TURNS):
                with contextlib.ExitStack() as stack:
                    lock = LaunchLock.take(run)
                    if lock is not None:
                        stack.enter_context(lock)
                    start = records.newest(run.launch) if lock is None else observe.running(launch)
                    training: RunningTraining
                    if lock is None or start is not None:
                        start, training = self._find(start)
                    else:
                        state = observe.gather(launch, watched)
                        move = decide(state, launch.settings.backend)
                        if isinstance(move, Finish):
                            return messages.finish(launch, state, move, signals)
                        if signals.stops:  # after a stop nothing is started any more
                            return 130 if signals.stops[0] == signal.SIGINT else 143
                        attempt = self._open_attempt(state, move)
                        if attempt is not None and launch.no_gpu and not launch.resume:
                            watched = preflight.refuse(launch, attempt).number
                            continue
                        runner = launch.training_runner(
                            move.backend
                        )  # fails before anything is written
                        start = self._record(state, move, attempt, runner)
                        stack.enter_context(_recording_failure(run, start))
                        training = runner.start(run, start, lock)
                    end = training.watch(signals)
                if end is None:
                    console.info(
                        f"terminal closed; training continues in the {start.runner} runner: inv ps shows it"
                    )
                    return _HUNG_UP
                watched = start.number
        raise ProtocolError(
            "the launcher goes round in circles", where=str(run.launch), todo="please report it"
        )

    def _require_possible(self) -> None:
        launch, run = self.resolved, self.resolved.run
        if launch.resume and not run.folder.is_dir():
            raise NotFoundError(
                f"there is no run {run.name} to resume",
                where=str(run.folder),
                todo="start it: the same command without --resume",
            )
        if not launch.resume and not records.newest(run.launch):
            run.refuse_second_start()

    @contextlib.contextmanager
    def _terminal(self, held: int) -> Iterator[None]:
        """Let go of the lock in the end; what root wrote in the docker runner is given to the
        project's owner.
        """
        try:
            yield
        finally:
            os.close(held)
            if self.resolved.runner.value == "docker":
                hand_to_owner(self.resolved.run.folder)

    def _falls_back_to_cpu(self) -> bool:
        """Return whether this training begins on the CPU only because there is no GPU, and nobody
        asked for the CPU.
        """
        launch, run = self.resolved, self.resolved.run
        return (
            launch.settings.train.device == "auto"
            and not launch.machine.has_gpu
            and not launch.resume
            and not is_held(run.launch_lock)
            and records.newest(run.launch) is None
        )

    def _find(self, start: Start | None) -> tuple[Start, RunningTraining]:
        """Return the training that runs already, if it is the one that this command would start."""
        run = self.resolved.run
        second.refuse_others(self.resolved, start)
        assert start is not None
        console.info(
            f"this training runs already (started {start.created}, {start.runner} runner): watching it;"
            " Ctrl-C here stops it, closing this terminal does not"
        )
        if start.runner == "docker":
            return start, container_training.adopt(self.resolved.engine(), run, start)
        return start, LocalTraining(run, start)

    def _open_attempt(self, state: LaunchState, move: Begin) -> Attempt | None:
        """Return the Unsloth attempt that is started or gone on with: only such may ask to be
        handed over.

        Raises:
            RefusedError: the run already exists and `--resume` was not given (76).
        """
        launch, run = self.resolved, self.resolved.run
        if (
            state.newest is not None
            and state.end is not None
            and not state.ours
            and not state.reported
        ):
            messages.report_earlier_end(
                launch, state.newest, state.end, handed=bool(move.handed_from)
            )
        if not launch.resume and not move.handed_from:
            run.refuse_second_start()
        if move.backend != "unsloth":
            return None
        attempts = run.attempts()
        stamped = [attempt for attempt in attempts if attempt.has_begun]
        if launch.resume and stamped:
            attempt = stamped[-1]
        else:
            attempt = run.attempt(attempts[-1].number + 1 if attempts else 1, "unsloth")
        with contextlib.suppress(OSError):  # of an earlier start: it would not name this one
            attempt.handover.unlink()
        return attempt

    def _record(
        self, state: LaunchState, move: Begin, attempt: Attempt | None, runner: TrainingRunner
    ) -> Start:
        """Write the record of the start that comes now."""
        if move.handed_from and isinstance(state.request, HandOver):
            messages.report_hand_over(state.request, runner.stack, runner.name)
        call = move.call
        if attempt is not None and not self.resolved.resume:
            call = call.with_options(attempt=attempt.number)
        return records.new_start(
            self.resolved.run.launch,
            call.argv,
            stack=runner.stack,
            runner=runner.name,
            environment_hash=runner.digest if runner.name in records.PROCESS_RUNNERS else "",
            image=runner.digest if runner.name == "docker" else "",
            attempt=attempt.name if attempt is not None else "",
        )


@contextlib.contextmanager
def _recording_failure(run: Run, start: Start) -> Iterator[None]:
    """Write down that a start has failed.

    Where the engine is gone nobody knows, and the next launcher looks.
    """
    try:
        yield
    except SftplayError as problem:
        if not is_gone(problem):
            with contextlib.suppress(SftplayError):
                if records.read_exit(run.launch, start) is None:
                    records.write_exit(run.launch, start, code=problem.code, asked="")
                records.seen_file(run.launch, start.number).touch()
        raise
