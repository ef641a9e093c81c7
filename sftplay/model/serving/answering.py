"""One request between two threads: the engine's, where tokens are chosen, and the event loop's,
which sends their text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from sftplay.errors import DataError
from sftplay.model.answers.answerer import Answerer
from sftplay.model.answers.generate import Answer
from sftplay.model.answers.stop_strings import StopWatch, before_stop
from sftplay.model.serving.engine import AnswerEngine, PendingAnswer
from sftplay.model.serving.protocol import ApiError, ChatRequest


class LiveAnswer:
    """An answer while it is written.

    Attributes:
        reason: why it ended: `stop` or `length`; empty before.
        prompt_tokens, answer_tokens: how many.
    """

    def __init__(self, answerer: Answerer, ids: Sequence[int], stop: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        self._watch = StopWatch(stop, answerer.prompter.tokenizer)
        self._prompter, self._stop = answerer.prompter, stop
        self._said, self._cancelled = "", False
        self.reason = ""
        self.prompt_tokens, self.answer_tokens = len(ids), 0

    def listen(self, token: int) -> bool:
        """Take a token, in the engine's thread. Returns whether more is wanted."""
        if self._cancelled:
            return False
        self.answer_tokens += 1
        self._watch.read(token)
        if piece := self._watch.safe[len(self._said) :]:
            self._said += piece
            self._tell(piece)
        return not self._watch.stopped

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
                whole = before_stop(self._prompter.text(event.ids), self._stop)
                if whole.startswith(self._said) and len(whole) > len(self._said):
                    yield whole[len(self._said) :]  # half a character, or what was held back
                self.reason = "stop" if event.ended or self._watch.stopped else "length"
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
    given = {
        name: value
        for name in ("temperature", "top_p", "seed")
        if (value := getattr(request, name)) is not None
    }
    stop = (*usual.stop, *request.stops)
    limit = answerer.prompter.room(ids, request.limit or usual.max_new_tokens)
    sampling = replace(usual, max_new_tokens=limit, stop=stop, **given)
    live = LiveAnswer(answerer, ids, stop)
    try:
        # a seed that is given makes the same answer every time, that of `infer --prompt`
        draw = None if request.seed is None else 1
        engine.submit(request.model, PendingAnswer(ids, sampling, draw, live.listen, live.end))
    except Exception as error:
        raise ApiError(503, "the model failed", kind="server_error") from error
    return live
