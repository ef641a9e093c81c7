"""Where a training can sit: in a container or under a supervisor. What the launcher has to know of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sftplay.host.protocol.call import Call
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import Wishes
from sftplay.runs import Run
from sftplay.settings import Settings

if TYPE_CHECKING:
    from sftplay.host.containers.engine import Engine


class Seat(Protocol):
    """A stack in a runner, ready to start one training."""

    @property
    def runner(self) -> str:
        """`docker` or `local`."""

    @property
    def stack(self) -> str:
        """bnb, unsloth or cpu."""

    @property
    def made_of(self) -> str:
        """Hash of the environment, or the image's digest."""

    def run(self, run: Run, start: Start, lock: int, wishes: Wishes) -> Exit | None:
        """Start it and watch it to its end. The launch lock's descriptor becomes the seat's own.

        Returns:
            How it ended; None where the terminal was closed, and it goes on.
        """


@dataclass(frozen=True)
class Order:
    """What a person asked the launcher for.

    Attributes:
        seat: backend → where it is started. May install, may say that there is no image (69).
        engine: the container engine, asked only where a start of this run is or was in a container.
        no_gpu: why Unsloth need not be tried here (preflight); empty: it is tried.
    """

    run: Run
    call: Call
    settings: Settings
    seat: Callable[[str], Seat]
    engine: Callable[[], Engine]
    no_gpu: str = ""

    @property
    def resume(self) -> bool:
        return "--resume" in self.call.options
