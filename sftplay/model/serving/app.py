"""HTTP: OpenAI's paths, a check of Host and key in front, one log line per request."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sftplay import console
from sftplay.model.answers.answerer import Answerer
from sftplay.model.serving.answering import LiveAnswer, prompt_of, start
from sftplay.model.serving.engine import AnswerEngine
from sftplay.model.serving.protocol import ApiError, ChatRequest, Reply, count, parse_chat
from sftplay.terminal_text import harmless

LARGEST = 16 << 20  # bytes of a request
HOSTS = ("127.0.0.1", "localhost")


def build_app(
    engine: AnswerEngine, answerers: Mapping[str, Answerer], *, key: str | None, hosts: list[str]
) -> ASGIApp:
    """Return the application.

    Args:
        answerers: model name → what answers for it.
        key: what clients have to send as their API key; None: nothing.
        hosts: names by which clients may call this machine. A web page that had its own name
            point here would call it by that one.
    """
    endpoint = _Endpoint(engine, answerers)
    routes = [
        Route("/health", endpoint.health),
        Route("/v1/models", endpoint.models),
        Route("/v1/models/{name:path}", endpoint.model),
        Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={ApiError: _refuse, 404: _unknown_path, 405: _unknown_path},
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )
    return _Front(app, key)


class _Front:
    """Checks the key and prints one line per request, without texts."""

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope["sftplay"] = facts = _Facts()
        try:
            if self._key is None or scope["path"] == "/health" or self._fits(scope):
                await self._app(scope, receive, note)
            else:
                await _wrong_key()(scope, receive, note)
        except ClientDisconnect:
            pass  # the line below says it
        finally:
            if facts.live is not None:
                facts.live.cancel()
            if scope["path"] != "/health" or status != 200:
                what = f"{scope['method']} {harmless(scope['path'])[:80]} {status or '-'}"
                console.info(f"{what}{facts.words()}, {time.monotonic() - began:.2f} s")

    def _fits(self, scope: Scope) -> bool:
        assert self._key is not None
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + self._key.encode())


@dataclass
class _Facts:
    """Facts about one request for the log, besides method, path, status and time.

    Attributes:
        refused: why, in a word; live: its answer.
    """

    refused: str = ""
    model: str = ""
    live: LiveAnswer | None = None

    def words(self) -> str:
        if self.live is None:
            return f" refused: {self.refused}" if self.refused else ""
        counts = f"prompt {self.live.prompt_tokens}, answer {self.live.answer_tokens} tokens"
        return f" {self.model}: {counts}, {self.live.reason or 'cancelled'}"


class _Endpoint:
    """Answers of each path."""

    def __init__(self, engine: AnswerEngine, answerers: Mapping[str, Answerer]) -> None:
        self._engine, self._answerers = engine, answerers
        self._created = int(time.time())

    async def health(self, request: Request) -> Response:
        failed = self._engine.failure is not None
        body = {"status": "failed" if failed else "ok"}
        return JSONResponse(body, status_code=503 if failed else 200)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card(n) for n in self._answerers]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._answerer(name)
        return JSONResponse(self._card(name))

    async def chat(self, request: Request) -> Response:
        asked = parse_chat(await _body(request))
        answerer = self._answerer(asked.model)
        ids = await run_in_threadpool(prompt_of, answerer, asked)
        live = start(self._engine, answerer, asked, ids)
        facts: _Facts = request.scope["sftplay"]
        facts.model, facts.live = asked.model, live
        if asked.stream:
            return StreamingResponse(
                _events(live, asked),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-cache"},
            )
        return await _whole(live, asked, request)

    def _answerer(self, name: str) -> Answerer:
        if name not in self._answerers:
            names = ", ".join(self._answerers)
            message = f"there is no model {name[:100]!r} here; there is {names}"
            raise ApiError(404, message, code="model_not_found", param="model")
        return self._answerers[name]

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "sftplay"}


async def _events(live: LiveAnswer, asked: ChatRequest) -> AsyncIterator[bytes]:
    """The answer as server-sent events."""
    reply = Reply(asked.model)
    try:
        yield _event(reply.chunk({"role": "assistant", "content": ""}))
        async with aclosing(live.texts()) as texts:
            async for text in texts:
                yield _event(reply.chunk({"content": text}))
        yield _event(reply.chunk({}, live.reason))
        if asked.stream_options and asked.stream_options.include_usage:
            yield _event(reply.usage(count(live.prompt_tokens, live.answer_tokens)))
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())


async def _whole(live: LiveAnswer, asked: ChatRequest, request: Request) -> Response:
    """The answer in one piece; a client that hangs up ends it."""
    written = asyncio.ensure_future(_joined(live))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({written, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not written.done():
            return Response(status_code=499)  # nobody reads it; the log line shows it
        text = written.result()
        usage = count(live.prompt_tokens, live.answer_tokens)
        return JSONResponse(Reply(asked.model).whole(text, live.reason, usage))
    finally:
        for task in (written, gone):
            task.cancel()


async def _joined(live: LiveAnswer) -> str:
    async with aclosing(live.texts()) as texts:
        return "".join([text async for text in texts])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        ApiError: not JSON by its type (415), or too large (413).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # what any web page may send elsewhere without being asked is not taken
        raise ApiError(415, "the body has to be application/json")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST:
                raise ApiError(413, f"the request is larger than {LARGEST >> 20} MiB")
            parts.append(part)
    except ClientDisconnect as error:
        raise ApiError(400, "the request ended early") from error
    return b"".join(parts)


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    request.scope["sftplay"].refused = harmless(str(error.code or error.param or error.kind))
    return JSONResponse(error.body(), status_code=error.status)


async def _unknown_path(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    message = (
        "no such path, or not by this method; there are /v1/chat/completions, /v1/models, /health"
    )
    return JSONResponse(ApiError(status, message).body(), status_code=status)


def _wrong_key() -> Response:
    error = ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
    headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse(error.body(), status_code=401, headers=headers)
