"""llama.cpp's server in this process, asked on loopback: it answers from a GGUF file."""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sftplay.errors import DataError, RefusedError, StorageError

_TIMEOUT = 3600.0  # seconds: a long prompt on a slow machine


class Runtime:
    """A GGUF file, loaded.

    Args:
        context: most tokens of prompt and answer.
        threads: of the processor.
        adapter: a LoRA adapter's GGUF file on top of it.

    Raises:
        StorageError: llama.cpp can't load the file (74).
    """

    def __init__(
        self, file: Path, *, context: int, threads: int, adapter: Path | None = None
    ) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel = context, 1
        params.n_gpu_layers, params.cpuparams.n_threads, params.cpuparams.poll = 0, threads, 0
        params.warmup, params.verbosity = False, -1
        params.hostnames, params.use_jinja = ["127.0.0.1"], True
        self._key = secrets.token_hex(16)
        params.ui, params.endpoint_slots = False, False
        params.api_keys = [self._key]  # other users of this machine can reach loopback too
        if adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        try:
            self._server = xllamacpp.Server(params)
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise StorageError(
                f"llama.cpp can't load it ({said})",
                where=str(file),
                todo="export it again: inv export",
            ) from error
        self._address = str(self._server.listening_address)
        # A proxy of the person's is not for loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def window(self) -> int:
        """Return the most tokens of prompt and answer: what the model was trained for, or less."""
        (model,) = self._ask("/v1/models")["data"]
        return min(int(model["meta"]["n_ctx"]), int(model["meta"]["n_ctx_train"]))

    def tokenize(self, text: str, *, whole: bool = False) -> list[int]:
        """Return a text's tokens; special tokens in it become those.

        Args:
            whole: with what the file says is added around a text, as a server does.
        """
        body = {"content": text, "add_special": whole, "parse_special": True}
        found: list[int] = self._ask("/tokenize", body)["tokens"]
        return found

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return the prompt of a conversation by the chat template in the file.

        Raises:
            DataError: the template refuses it, or llama.cpp can't run it (65).
        """
        return str(self._ask("/apply-template", {"messages": [*messages]})["prompt"])

    def next_logprobs(self, ids: Sequence[int], vocabulary: int) -> dict[int, float]:
        """Return the log probability of every token behind a prompt."""
        body = {"prompt": [*ids], "n_predict": 1, "temperature": 0, "n_probs": vocabulary}
        # An end of text, or half a character, would be reported without probabilities. So another
        # token is drawn; the probabilities are those before the bias.
        body["logit_bias"] = [[self.tokenize("a")[0], 1e4]]
        (first,) = self._ask("/completion", body)["completion_probabilities"]
        return {int(each["id"]): float(each["logprob"]) for each in first["top_logprobs"]}

    def ends_at(self, token: int) -> bool:
        """Return whether an answer ends at this token, by what the file says of it."""
        body = {"prompt": self.tokenize("a"), "n_predict": 1, "temperature": 0}
        found = self._ask("/completion", {**body, "logit_bias": [[token, 1e4]]})
        return bool(found["stop_type"] == "eos")

    def answer(
        self, ids: Sequence[int], settings: Mapping[str, Any]
    ) -> Iterator[tuple[list[int], bool]]:
        """Yield an answer's tokens as they come, each time with whether the model ended there.

        Args:
            settings: of llama.cpp's `/completion`.
        """
        body = {"prompt": [*ids], "stream": True, "return_tokens": True, **settings}
        with closing(self._open("/completion", body)) as response:
            for line in response:
                if line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    yield event.get("tokens") or [], event.get("stop_type") == "eos"

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with closing(self._open(path, body)) as response:
            found: dict[str, Any] = json.loads(response.read())
        return found

    def _open(self, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(  # noqa: S310 - always our own server on loopback
            self._address + path, None if body is None else json.dumps(body).encode(), headers
        )
        try:
            return self._opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:300]
            kind = DataError if path != "/completion" else RefusedError
            raise kind(f"llama.cpp refuses: {said}", where=path) from error


def processor_threads() -> int:
    """Return how many threads llama.cpp may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1
