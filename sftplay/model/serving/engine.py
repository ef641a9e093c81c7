"""One thread that answers for every model name: requests join the rows in flight, tokens leave one
by one.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sftplay.model.answers.answerer import Answerer
from sftplay.model.answers.generate import Answer, Request, passes
from sftplay.model.answers.sampling import Sampling


@dataclass(frozen=True)
class PendingAnswer:
    """One prompt on its way through the engine.

    Attributes:
        draw: number of its random stream; None: one of its own.
        listen: told each token, in the engine's thread; False ends the answer there.
        end: told the whole answer, or the error that ended the engine.
    """

    ids: Sequence[int]
    sampling: Sampling
    draw: int | None
    listen: Callable[[int], bool]
    end: Callable[[Answer | Exception], None]


class _Waiting(Iterator[Request]):
    """Prompts that nobody reads yet. Its end is not final: more may come."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()

    def __next__(self) -> Request:
        try:
            return self.requests.popleft()
        except IndexError:
            raise StopIteration from None


@dataclass
class Lane:
    """The prompts of one model name.

    Attributes:
        answerer: model, template and stop tokens of this name.
        use: makes the shared model this one: adapter on, or off.
    """

    answerer: Answerer
    use: Callable[[], None] = lambda: None
    _waiting: _Waiting = field(default_factory=_Waiting)
    open: dict[int, PendingAnswer] = field(default_factory=dict)

    def add(self, key: int, job: PendingAnswer) -> None:
        """Let a prompt wait for room."""
        self.open[key] = job
        request = Request(key, job.ids, None, job.sampling, job.draw, job.listen)
        self._waiting.requests.append(request)

    def passes(self, size: int) -> Iterator[list[tuple[int, Answer]]]:
        """Passes of the model, without end."""
        one = self.answerer
        return passes(
            one.model,
            self._waiting,
            one.sampling,
            one.stop_ids,
            one.pad_id,
            size,
            own=one.own_decoder,
            endless=True,
        )


class AnswerEngine(threading.Thread):
    """Takes turns: one pass for each model name that has prompts.

    Args:
        lanes: model name → lane.
        size: prompts of one name that are answered at once.
        failed: told the error that ended the thread, from the thread.

    Attributes:
        failure: that error; None while all is well.
    """

    def __init__(
        self, lanes: Mapping[str, Lane], size: int, failed: Callable[[Exception], None]
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self._lanes, self._size, self._failed = lanes, size, failed
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._ending = False
        self.failure: Exception | None = None

    def submit(self, name: str, job: PendingAnswer) -> None:
        """Ask `name` to answer a prompt."""
        with self._changed:
            if self.failure is not None:
                raise self.failure
            self._lanes[name].add(next(self._numbers), job)
            self._changed.notify()

    def close(self) -> None:
        """End the thread; answers that are being written end here."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self.join()

    def run(self) -> None:
        """Answer until `close`."""
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - all who wait are told, and the server ends with it
            with self._changed:
                self.failure = error
            for lane in self._lanes.values():
                for job in lane.open.values():
                    job.end(error)
            self._failed(error)

    def _work(self) -> None:
        running = {name: lane.passes(self._size) for name, lane in self._lanes.items()}
        for name, lane in self._lanes.items():  # measures the room now, not before the first answer
            lane.use()
            next(running[name])
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._busy())
                if self._ending:
                    return
                busy = self._busy()
            for name in busy:
                lane = self._lanes[name]
                lane.use()
                for key, answer in next(running[name]):
                    lane.open.pop(key).end(answer)

    def _busy(self) -> list[str]:
        return [name for name, lane in self._lanes.items() if lane.open]
