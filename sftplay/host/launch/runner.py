"""The interface of a runner for trainings: a process under a supervisor, or a container."""

from __future__ import annotations

from typing import Protocol

from sftplay.host.protocol.launch_lock import LaunchLock
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import StopSignals
from sftplay.runs import Run


class RunningTraining(Protocol):
    """A training that was started or found."""

    def watch(self, signals: StopSignals) -> Exit | None:
        """Wait for its end and pass stops on.

        Returns:
            How it ended; None where the terminal was closed, and it continues.
        """


class TrainingRunner(Protocol):
    """A stack in a runner, ready to start one training."""

    @property
    def name(self) -> str:
        """`docker` or `local`."""

    @property
    def stack(self) -> str:
        """bnb, unsloth or cpu."""

    @property
    def digest(self) -> str:
        """Hash of the environment, or the image's digest."""

    def start(self, run: Run, start: Start, lock: LaunchLock) -> RunningTraining:
        """Start it. A runner whose process outlives the launcher takes the lock over."""
