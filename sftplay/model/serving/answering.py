"""One request between two threads: the engine's, where tokens are chosen, and the event loop's,
which sends their text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from sftplay.errors import DataError
from sftplay.model.answers.answerer import Answerer
from sftplay.model.answers.generate import Answer
from sftplay.model.answers.pieces import TextPieces
from sftplay.model.answers.sampling import Sampling
from sftplay.model.serving.engine import AnswerEngine, PendingAnswer
from sftplay.model.serving.protocol import ApiError, ChatRequest


class StopTexts:
    """Text up to the first of some stop texts. What may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.found = False

    def add(self, piece: str) -> str:
        """Return the text that is sure to come before a stop text."""
        text = self._held + piece
        places = [place for place in map(text.find, self._stops) if place >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return what was held back for nothing."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)


class LiveAnswer:
    """An answer while it is written.

    Attributes:
        reason: why it ended: `stop` or `length`; empty before.
        prompt_tokens, answer_tokens: how many.
    """

    def __init__(self, answerer: Answerer, ids: Sequence[int], stops: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        self._pieces = TextPieces(answerer.prompter.tokenizer)
        self._stops = StopTexts(stops)
        self._cancelled = False
        self.reason = ""
        self.prompt_tokens, self.answer_tokens = len(ids), 0

    def listen(self, token: int) -> bool:
        """Take a token, in the engine's thread. Returns whether more is wanted."""
        if self._cancelled:
            return False
        self.answer_tokens += 1
        if piece := self._stops.add(self._pieces.add(token)):
            self._tell(piece)
        return not self._stops.found

    def end(self, answer: Answer | Exception) -> None:
        """Take the end, in the engine's thread."""
        self._tell(answer)

    def cancel(self) -> None:
        """Nobody waits for it any more: its row leaves at its next token."""
        self._cancelled = True

    async def texts(self) -> AsyncGenerator[str, None]:
        """The text, in pieces.

        Raises:
            ApiError: the engine has failed (500).
        """
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, str):
                    yield event
                    continue
                if isinstance(event, Exception):
                    raise ApiError(
                        500, f"the model failed: {type(event).__name__}", kind="server_error"
                    )
                if not self._stops.found:
                    for piece in (self._stops.add(self._pieces.rest()), self._stops.rest()):
                        if piece:
                            yield piece
                self.reason = "stop" if event.ended or self._stops.found else "length"
                return
        finally:
            self.cancel()

    def _tell(self, event: str | Answer | Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the loop has ended
            self._cancelled = True


def prompt_of(answerer: Answerer, request: ChatRequest) -> list[int]:
    """Return the prompt's tokens, as `infer` makes them.

    Raises:
        ApiError: the template refuses it, or it leaves no room for an answer (400).
    """
    messages = [message.plain() for message in request.messages]
    try:
        ids = answerer.prompter.ids(answerer.with_system(messages))
    except DataError as error:
        raise ApiError(400, error.what, param="messages") from error
    if answerer.prompter.room(ids, 1) < 1:
        raise ApiError(
            400,
            f"the prompt has {len(ids):,} tokens, and the model reads {answerer.prompter.window:,} at most",
            code="context_length_exceeded",
            param="messages",
        )
    return ids


def start(
    engine: AnswerEngine, answerer: Answerer, request: ChatRequest, ids: Sequence[int]
) -> LiveAnswer:
    """Give a prompt to the engine.

    Raises:
        ApiError: the engine has failed (503).
    """
    usual = answerer.sampling
    wanted = request.limit or usual.max_new_tokens
    sampling = Sampling(
        answerer.prompter.room(ids, wanted),
        usual.temperature if request.temperature is None else request.temperature,
        usual.top_p if request.top_p is None else request.top_p,
        usual.seed if request.seed is None else request.seed,
    )
    live = LiveAnswer(answerer, ids, request.stops)
    try:
        # a seed that is given makes the same answer every time, that of `infer --prompt`
        draw = None if request.seed is None else 1
        engine.submit(request.model, PendingAnswer(ids, sampling, draw, live.listen, live.end))
    except Exception as error:
        raise ApiError(503, "the model failed", kind="server_error") from error
    return live
