"""A served run compared with a chat in the terminal, and with llama.cpp: `inv bench serve`.

Everything is measured as a person meets it: the chat in a pseudo-terminal, the endpoint through
OpenAI's own client. Contestants take turns.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._measure import ROOT, read_rows
from bench._project import AS_THE_RUNNER, sets
from bench._versus import show, write
from bench.eval import options_of, trained

CLIENTS = 16
_PROMPT = b"> "
_LIMIT = "infer.max_new_tokens={}"
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Said:
    """One answer: seconds to its first piece and to its end, and its text."""

    first: float
    whole: float
    text: str


Ask = Callable[[str], Said]


def main(argv: list[str]) -> int:
    """Measure, and print the tables."""
    options = options_of(argv, "inv bench serve", 16)
    with trained(options.rows, options.samples) as (project, model):
        rows = read_rows(project / "data/processed/val.jsonl")[: options.samples]
        prompts = [" ".join(row["messages"][0]["content"].split()) for row in rows]
        limit = sets(_LIMIT.format(options.max_new_tokens))
        with _chat(project, sys.executable, *limit) as chat, _server(project, *limit) as served:
            asked = _in_turns({"chat": chat, "serve": served.ask}, prompts, options.rounds)
            alone, together = _clients(served, prompts, options.rounds)
        gguf = _gguf(project, prompts, options.rounds, limit)
    tables = [_first_piece(asked), _throughput(alone, together, asked, gguf, model)]
    if options.write:
        write("serve", tables)
    return 0


def _in_turns(
    contestants: dict[str, Ask], prompts: Sequence[str], rounds: int
) -> dict[str, list[Said]]:
    """Each prompt, asked of one after the other. The first turn warms up; it is the last prompt's,
    so that no prompt comes twice in a row: a chat would know it.
    """
    found: dict[str, list[Said]] = {name: [] for name in contestants}
    for number in range(rounds):
        for prompt in prompts if number else [prompts[-1], *prompts]:
            for name, ask in contestants.items():
                found[name].append(ask(prompt))
    return {name: said[1:] for name, said in found.items()}


@contextmanager
def _chat(project: Path, python: str | Path, *words: str) -> Iterator[Ask]:
    """`infer` in a pseudo-terminal; each prompt begins a conversation."""
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 5000))  # an echo without line breaks
    argv = [str(python), "-m", "sftplay", "infer", "--run", "bench", *words]
    env = {**os.environ, **AS_THE_RUNNER, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}
    child = subprocess.Popen(
        argv, cwd=project, env=env, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    try:
        _read_until_prompt(terminal)

        def ask(prompt: str) -> Said:
            os.write(terminal, b"/reset\n")
            _read_until_prompt(terminal)
            return _typed(terminal, prompt)

        yield ask
    finally:
        child.terminate()
        child.wait()
        os.close(terminal)


def _typed(terminal: int, prompt: str) -> Said:
    """Type a prompt, and read its answer; what the terminal echoes is not part of it."""
    line = prompt.encode() + b"\n"
    began, first, seen = time.perf_counter(), 0.0, b""
    os.write(terminal, line)
    while not (seen.endswith(b"\n" + _PROMPT) and first):
        seen += _ESCAPE.sub(b"", _read(terminal))
        seen = seen.replace(b"\r", b"")
        answer = seen.partition(b"\n")[2]
        if not first and answer:
            first = time.perf_counter() - began
    whole = time.perf_counter() - began
    return Said(first, whole, answer.removesuffix(b"\n" + _PROMPT).decode())


def _read_until_prompt(terminal: int) -> None:
    seen = b""
    while not _ESCAPE.sub(b"", seen).endswith(_PROMPT):
        seen += _read(terminal)


def _read(terminal: int) -> bytes:
    if not select.select([terminal], [], [], 300)[0]:
        raise RuntimeError("the chat is silent for 300 s")
    return os.read(terminal, 65536)


@dataclass(frozen=True)
class _Endpoint:
    client: Any

    def ask(self, prompt: str) -> Said:
        """One streamed answer."""
        began, first, text = time.perf_counter(), 0.0, ""
        stream = self.client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": prompt}], stream=True
        )
        for chunk in stream:
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece and not first:
                first = time.perf_counter() - began
            text += piece or ""
        return Said(first, time.perf_counter() - began, text)

    def tokens(self, prompt: str) -> int:
        """One whole answer; how many tokens it has."""
        made = self.client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": prompt}]
        )
        return int(made.usage.completion_tokens)


@contextmanager
def _server(project: Path, *words: str) -> Iterator[_Endpoint]:
    import openai

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "sftplay", "serve", "--run", "bench", "--port", str(port), *words]
    env = {**os.environ, **AS_THE_RUNNER, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    log = project / "serve.log"
    with log.open("wb") as out:
        child = subprocess.Popen(argv, cwd=project, env=env, stdout=out, stderr=out)
    try:
        while b"answers for the model" not in log.read_bytes():
            if child.poll() is not None:
                raise RuntimeError(log.read_text()[-3000:])
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/v1"
        yield _Endpoint(openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600))
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def _clients(
    served: _Endpoint, prompts: Sequence[str], rounds: int
) -> tuple[list[float], list[float]]:
    """Tokens a second of one client, and of sixteen together, in turns."""
    alone, together = [], []
    many = [prompts[number % len(prompts)] for number in range(CLIENTS)]
    for _ in range(rounds):
        began = time.perf_counter()
        tokens = sum(map(served.tokens, many[:4]))
        alone.append(tokens / (time.perf_counter() - began))
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            tokens = sum(pool.map(served.tokens, many))
        together.append(tokens / (time.perf_counter() - began))
    return alone, together


def _gguf(
    project: Path, prompts: Sequence[str], rounds: int, limit: Sequence[str]
) -> dict[str, list[Said]]:
    """The run's GGUF files in llama.cpp: in the terminal, as `infer --gguf` answers."""
    from sftplay.host.local import environments

    python = environments.ensure("export").python
    env = {**os.environ, **AS_THE_RUNNER, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    found = {}
    for quant in ("f16", "q8_0", "q4_k_m"):
        argv = [str(python), "-m", "sftplay", "export", "--run", "bench", "--quant", quant]
        made = subprocess.run(
            argv, cwd=project, env=env, capture_output=True, text=True, check=False
        )
        if made.returncode:
            print(f"{quant}: no file: {made.stderr.strip()[-300:]}")
            continue
        with _chat(project, python, "--gguf", *limit) as ask:
            found[quant] = _in_turns({quant: ask}, prompts, rounds)[quant]
    return found


def _first_piece(asked: dict[str, list[Said]]) -> str:
    chat, served = ([one.first * 1000 for one in asked[name]] for name in ("chat", "serve"))
    ratio = statistics.median(b / a for a, b in zip(chat, served, strict=True))
    return show(
        "First piece of an answer, model loaded",
        ("what", "milliseconds, median (from, to)"),
        [
            ("`inv infer`, the chat", _spread(chat)),
            ("`inv serve`, streamed to OpenAI's client", _spread(served)),
            ("ratio, prompt by prompt (at most 1.2)", f"{ratio:.2f} ×"),
        ],
    )


def _throughput(
    alone: list[float],
    together: list[float],
    asked: dict[str, list[Said]],
    gguf: dict[str, list[Said]],
    model: Path,
) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def speed(said: Sequence[Said]) -> list[float]:
        """Tokens a second behind the first piece."""
        counts = [len(tokenizer(one.text)["input_ids"]) for one in said]
        return [
            (count - 1) / (one.whole - one.first)
            for one, count in zip(said, counts, strict=True)
            if count > 1 and one.whole - one.first > 0.01  # else it came in one piece
        ]

    served = statistics.median(speed(asked["serve"]))
    rows = [
        (
            "`inv serve`, one client",
            _spread(alone),
            f"{CLIENTS} clients: {statistics.median(together) / statistics.median(alone):.2f} × (at least 2)",
        ),
        (f"`inv serve`, {CLIENTS} clients together", _spread(together), ""),
    ]
    for name, said in {"`inv infer`, the chat": asked["chat"], **gguf}.items():
        each = speed(said)
        label = name if name not in gguf else f"`inv infer --gguf`, {name}"
        of_served = f"{statistics.median(each) / served:.2f} × the endpoint's stream"
        rows.append((label, _spread(each), of_served))
    return show("Tokens a second", ("what", "median (from, to)", "ratio"), rows)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
