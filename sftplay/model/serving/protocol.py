"""Requests of OpenAI's chat protocol, checked, and its answers as JSON.

What would change an answer and is not supported here is refused by name, never passed over.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sftplay.validation import in_words

_NOT_AN_OBJECT = {"model_type": "the request has to be a JSON object"}
# Notes for whoever keeps the requests: they change no answer.
_NOTES = {"user", "metadata", "store", "safety_identifier", "prompt_cache_key"}


class ApiError(Exception):
    """A refusal, as OpenAI's API words it.

    Args:
        status: HTTP status; kind: OpenAI's `type`; code: its `code`; param: the field in question.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param

    def body(self) -> dict[str, Any]:
        """Return the JSON that clients expect."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}


class _Lenient(BaseModel):
    """Takes other fields too, so that they can be looked at one by one."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    @property
    def others(self) -> list[str]:
        """Fields that ask for something and are not known here."""
        extra = self.model_extra or {}
        return sorted(key for key, value in extra.items() if value not in (None, [], {}, False))


class ChatMessage(_Lenient):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        """Join the parts of a text; any other kind of content is refused by its name."""
        if value is None:
            raise ValueError("a message without text (null) is not supported here")
        if not isinstance(value, list):
            return value
        return "".join(map(_text_of, value))

    def plain(self) -> dict[str, str]:
        """Return role and text."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content}


def _text_of(part: Any) -> str:
    """Return the text of a part of a message.

    Raises:
        ValueError: it is no text, or has more than that.
    """
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise ValueError("requires text, or parts that each have a type and a text")
    if kind != "text":
        raise ValueError(f"parts of type {kind[:40]} are not supported here, only text")
    if not isinstance(part.get("text"), str):
        raise ValueError("a part of type text requires a text")
    more = sorted(part.keys() - {"type", "text"})
    if more:
        raise ValueError(f"{more[0][:40]} in a part of the text is not supported here")
    return str(part["text"])


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(_Lenient):
    """Body of POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("temperature")
    @classmethod
    def _probabilities_stay_finite(cls, value: float | None) -> float | None:
        if value is not None and 0 < value < 1e-6:
            raise ValueError("0 for greedy answers, or at least 1e-6")
        return value

    @field_validator("n")
    @classmethod
    def _one_answer(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("several answers to one request are not supported here, only n=1")
        return value

    @field_validator("stop", mode="before")
    @classmethod
    def _few_texts(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and len(texts) > 4:
            raise ValueError("more than 4 stop texts are not supported here")
        return texts

    @property
    def stops(self) -> list[str]:
        """Texts that end the answer."""
        return [text for text in self.stop or [] if text]

    @property
    def limit(self) -> int | None:
        """Longest answer that is asked for."""
        return self.max_completion_tokens or self.max_tokens


def parse_chat(body: bytes) -> ChatRequest:
    """Read and check a request.

    Raises:
        ApiError: not JSON, not the protocol, or something that is not supported (400).
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(word) for word in first["loc"])
        said = in_words(first) if place else _NOT_AN_OBJECT.get(first["type"], first["msg"])
        message = f"{place}: {said}" if place else str(said)
        raise ApiError(400, message[:300], param=place or None) from None
    others = [name for name in request.others if name not in _NOTES]
    others += [name for message in request.messages for name in message.others if name != "name"]
    if request.presence_penalty:
        others.append("presence_penalty")
    if request.frequency_penalty:
        others.append("frequency_penalty")
    if (request.response_format or {}).get("type", "text") != "text":
        others.append("response_format")
    if others:
        raise ApiError(
            400,
            f"not supported here: {', '.join(others)[:200]}",
            code="unsupported_parameter",
            param=others[0][:100],
        )
    if request.messages[-1].role != "user":
        raise ApiError(400, "the last message has to be the user's", param="messages")
    return request


class Reply:
    """The JSON of one answer: whole, or in chunks."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self._head = {"id": self.id, "created": int(time.time()), "model": model}

    def whole(self, text: str, reason: str, usage: dict[str, int]) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        """One piece of a streamed answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        """The chunk that ends a stream whose client asked for the counts."""
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage}


def count(prompt: int, answer: int) -> dict[str, int]:
    """Tokens of prompt and answer."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
