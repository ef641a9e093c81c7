"""Answers to many prompts, through one batch that is refilled as rows end.

One module although it is long: the loop, its rows and the room for them change together.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from sftplay import console
from sftplay.errors import OutOfMemoryError
from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.sampling import Sampling, choose, stream_of
from sftplay.model.answers.stop_strings import StopWatch
from sftplay.model.answers.whole import whole_answer
from sftplay.model.runtime.memory import for_answers

# tokens of new prompts that go through the model at once, padding included
_GPU_PREFILL, _CPU_PREFILL = 8192, 2048
# rows at most of a model whose rows start and end together: what their states take is not known
_TOGETHER = 32


@dataclass(frozen=True)
class Request:
    """One prompt.

    Attributes:
        key: number by which the caller knows the answer; it also picks the prompt's random stream.
        ids: the prompt's tokens.
        limit: longest answer for this prompt, where it is shorter than the sampling's.
        sampling: how its tokens are chosen, where it is not as for all others.
        draw: number of its random stream, where that is not its key.
        listen: told each token of the answer as it is chosen; False ends the answer there.
    """

    key: int
    ids: Sequence[int]
    limit: int | None = None
    sampling: Sampling | None = None
    draw: int | None = None
    listen: Callable[[int], bool] | None = None


@dataclass(frozen=True)
class Answer:
    """Text and tokens that the model wrote.

    Attributes:
        ids: its tokens, without the one that ended it.
        ended: the model ended it itself; False: it was cut off.
    """

    ids: list[int]
    ended: bool


@dataclass
class _Row:
    request: Request
    limit: int
    sampling: Sampling
    generator: torch.Generator | None
    watch: StopWatch | None = None
    # chosen so far; all but the last have gone through the model
    ids: list[int] = field(default_factory=list)
    length: int = 0  # how many of them are its answer
    ended: bool = False
    stopped: bool = False  # who listens has heard enough
    counted: float = 0.0  # share of its work that was told

    @property
    def done(self) -> bool:
        return self.ended or self.stopped or self.length >= self.limit

    @property
    def whole(self) -> int:
        """Positions at the end, if it takes its longest answer."""
        return len(self.request.ids) + self.limit

    def gained(self) -> float:
        """Share of its work that was done since this was last asked; an answer that ends early
        jumps to the end.
        """
        before, self.counted = self.counted, 1.0 if self.done else self.length / self.limit
        return self.counted - before

    def ends_with(self, token: int, stop_ids: Sequence[int]) -> bool:
        """Take the next token; whether it is the last one.

        A row that is done takes what it is given as filler.
        """
        was_done = self.done
        self.ids.append(token)
        if was_done:
            return False
        self.ended = token in stop_ids
        self.length += not self.ended
        if self.watch is not None and not self.ended:
            self.ended = self.watch.read(token)
        if self.length and not self.ended and self.request.listen is not None:
            self.stopped = not self.request.listen(token)
        return self.done

    @property
    def seen(self) -> list[int]:
        """Its tokens so far, prompt included."""
        return [*self.request.ids, *self.ids]


@dataclass
class _Room:
    """Limits of what can be in flight.

    Attributes:
        rows: at most so many.
        positions: what memory holds of all rows together, each as long as it may become.
        prefill: tokens of new prompts that go through the model at once.
    """

    rows: int
    positions: int
    prefill: int

    def most(self, rows: Sequence[_Row]) -> int:
        """Return how many rows as long as the longest of these fit."""
        return min(self.rows, max(1, self.positions // max((row.whole for row in rows), default=1)))

    def take(
        self, waiting: deque[_Row], source: Iterator[_Row], rows: Sequence[_Row]
    ) -> list[_Row]:
        """The next rows to join those in flight: as many as there is room for, and as go through
        the model at once.
        """
        taken: list[_Row] = []
        read, whole = 0, max((row.whole for row in rows), default=0)
        while (count := len(rows) + len(taken) + 1) <= self.rows:
            row = waiting.popleft() if waiting else next(source, None)
            if row is None:
                break
            read, whole = max(read, len(row.request.ids) + len(row.ids)), max(whole, row.whole)
            too_much_to_read = taken and read * (len(taken) + 1) > self.prefill
            if too_much_to_read or (count > 1 and whole * count > self.positions):
                waiting.appendleft(row)
                break
            taken.append(row)
        return taken


def answers(
    model: Any,
    requests: Iterable[Request],
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
    size: int,
    advance: Callable[[float], None] = lambda share: None,
    *,
    own: bool = True,
    watch: StopWatch | None = None,
) -> Iterator[tuple[int, Answer]]:
    """Answer every prompt; the answers come as they are ready, each with its request's key.

    A row that ends makes room at once; new prompts join when a quarter of the batch is free.
    Prompts are taken in the given order: neighbors of like length waste the least.

    Args:
        model: the model, adapter on or off.
        requests: the prompts; read on only as far as there is room.
        sampling: how tokens are chosen.
        stop_ids: tokens that end an answer.
        pad_id: filler; masked by position.
        size: rows in flight at most. Fewer where their keys and values would take more than
            `memory.for_answers`; halved where the GPU's memory does not suffice all the same.
        advance: told after each pass how much was done, a whole answer being 1.
        own: by our decoder; else by transformers' generate (see `whole.can_decode`).
        watch: sees the texts that end an answer; each answer gets a fresh one.

    Raises:
        OutOfMemoryError: not even one row fits (81). NonFiniteError: the model computes nonsense
            (80).
    """
    for ended in passes(
        model, requests, sampling, stop_ids, pad_id, size, advance, own=own, watch=watch
    ):
        yield from ended


@torch.inference_mode()
def passes(
    model: Any,
    requests: Iterable[Request],
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
    size: int,
    advance: Callable[[float], None] = lambda share: None,
    *,
    own: bool = True,
    watch: StopWatch | None = None,
    endless: bool = False,
) -> Iterator[list[tuple[int, Answer]]]:
    """Answer prompts as `answers` does, pass by pass: yields the answers that each one ended.

    Args:
        endless: more prompts may come when all are answered: then passes are empty, and `requests`
            is asked again at the next one.
    """
    source = map(partial(_row, sampling, watch), requests)  # asks again after an end
    if not own:
        yield from _one_by_one(model, source, stop_ids, pad_id, advance, endless=endless)
        return
    waiting: deque[_Row] = deque()
    batch, rows, new = Batch(model, pad_id), list[_Row](), list[_Row]()
    room = _room_of(batch, size)
    while True:
        most = room.most(rows)
        wanted = not rows or (batch.flexible and most - len(rows) >= max(1, most // 4))
        new = room.take(waiting, source, rows) if wanted else []
        if not rows and not new:
            if not endless:
                return
            yield []
            continue
        try:
            if new:
                ended = _add(new, batch.join([row.seen for row in new]), stop_ids)
            else:
                ended = _add(rows, batch.step([row.ids[-1] for row in rows]), stop_ids)
        except torch.OutOfMemoryError:
            room.rows = _smaller(len(rows) + len(new))
            waiting.extendleft(row for row in reversed(rows + new) if not row.done)
            rows = []
            batch.clear()
            torch.cuda.empty_cache()
            continue
        rows += new
        advance(sum(row.gained() for row in rows))
        if ended:
            rows = [
                rows[place]
                for place in batch.keep([i for i, row in enumerate(rows) if not row.done])
            ]
        yield [(row.request.key, Answer(row.ids[: row.length], row.ended)) for row in ended]


def _one_by_one(
    model: Any,
    rows: Iterator[_Row],
    stop_ids: Sequence[int],
    pad_id: int,
    advance: Callable[[float], None],
    *,
    endless: bool,
) -> Iterator[list[tuple[int, Answer]]]:
    """Answers by transformers' generate, in the order of the prompts."""
    while (row := next(rows, None)) is not None or endless:
        if row is None:
            yield []
            continue
        how = replace(row.sampling, max_new_tokens=row.limit)
        watch = row.watch.fresh() if row.watch else None
        for token in whole_answer(
            model, row.request.ids, how, stop_ids, pad_id, row.generator, watch
        ):
            if row.ends_with(token, stop_ids):
                break
        advance(1)
        yield [(row.request.key, Answer(row.ids[: row.length], row.ended))]


def _row(usual: Sampling, watch: StopWatch | None, request: Request) -> _Row:
    sampling = request.sampling or usual
    limit = min(sampling.max_new_tokens, request.limit or sampling.max_new_tokens)
    own = watch.fresh() if watch else None
    draw = request.key if request.draw is None else request.draw
    return _Row(request, limit, sampling, stream_of(sampling, draw), own)


def _room_of(batch: Batch, size: int) -> _Room:
    """Return the room that a model has before anything is in flight."""
    if not batch.flexible:
        # who is not read now waits for the end of all
        return _Room(min(size, _TOGETHER), sys.maxsize, _GPU_PREFILL)
    prefill = _GPU_PREFILL if batch.device.type == "cuda" else _CPU_PREFILL
    try:
        return _Room(size, for_answers(batch.device) // batch.position_bytes(), prefill)
    except torch.OutOfMemoryError as error:
        raise _no_room() from error


def _add(rows: Sequence[_Row], logits: torch.Tensor, stop_ids: Sequence[int]) -> list[_Row]:
    """Choose each row's next token; return the rows that end with it."""
    tokens = [0] * len(rows)
    for sampling in dict.fromkeys(_choice(row.sampling) for row in rows):
        places = [i for i, row in enumerate(rows) if _choice(row.sampling) == sampling]
        some = logits if len(places) == len(rows) else logits[places]
        alike = [rows[i] for i in places]
        seen = [row.seen for row in alike] if sampling.repetition_penalty != 1 else []
        chosen = choose(some, sampling, [row.generator for row in alike], seen)
        for place, token in zip(places, chosen, strict=True):
            tokens[place] = token
    return [row for row, token in zip(rows, tokens, strict=True) if row.ends_with(token, stop_ids)]


def _choice(sampling: Sampling) -> Sampling:
    """The part of a sampling that one choice for several rows depends on."""
    return replace(sampling, max_new_tokens=0, stop=(), seed=0)


def _smaller(rows: int) -> int:
    if rows <= 1:
        raise _no_room()
    console.warning(f"out of GPU memory with {rows} rows at a time: continuing with {rows // 2}")
    return rows // 2


def _no_room() -> OutOfMemoryError:
    return OutOfMemoryError(
        "out of GPU memory with one row at a time",
        todo="free the GPU (nvidia-smi shows who uses it), or use --set train.device=cpu",
    )
