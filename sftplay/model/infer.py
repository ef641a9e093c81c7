"""Stage `infer`: one prompt, a file of prompts, or a chat, with the tuned model or the base."""

from __future__ import annotations

import sys
from pathlib import Path

from sftplay import console
from sftplay.errors import UsageError
from sftplay.gguf_file import check_gguf
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.terminal_text import harmless


def run(job: Job) -> None:
    """Answer what was asked for on the command line, or chat.

    Raises:
        UsageError: nothing to answer: no prompt, no file, no terminal (2).
        NotFoundError: no trained run, no model, no file of prompts (66). DataError: a prompt is bad
            (65).
    """
    prompt, source = job.options.get("prompt"), job.options.get("input")
    _check_usage(job)
    if not job.options.get("base"):
        Run(job.run_name).require_tuned()  # before anything slow
    if gguf := job.options.get("gguf"):
        check_gguf(Run(job.run_name), str(gguf))
    name = (
        job.settings.model.name
        if job.options.get("base")
        else f"run {job.run_name} ({job.settings.model.name})"
    )
    console.info(f"loading {name}")  # torch alone takes seconds to import
    if source is not None:
        from sftplay.model.answers.batch import run_batch

        run_batch(job, Path(source))
    elif prompt is not None:
        _answer(job, prompt)
    else:
        from sftplay.model.answers.chat import chat

        chat(job)


def _check_usage(job: Job) -> None:
    prompt, source = job.options.get("prompt"), job.options.get("input")
    if prompt is not None and source is not None:
        raise UsageError("--prompt and --input exclude each other", todo="keep one of them")
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", todo='for example: --prompt "What is 7 times 8?"')
    if job.options.get("output") and source is None:
        raise UsageError(
            "--output goes with --input FILE",
            todo="one answer goes to the screen; redirect it with >",
        )
    if job.options.get("base") and job.options.get("gguf"):
        raise UsageError("--base and --gguf exclude each other", todo="keep one of them")
    if prompt is None and source is None and not _is_terminal():
        raise UsageError(
            "a chat needs a terminal, and stdin is none",
            todo='ask one thing: --prompt "…"\nor answer a file of prompts: --input FILE (txt or jsonl)',
        )


def _is_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # no stdin at all, or a closed one
        return False


def _answer(job: Job, prompt: str) -> None:
    """One answer on stdout and nothing else; on a terminal as it is written."""
    from sftplay.model.answers.opening import open_answerer

    answerer = open_answerer(job)
    stream = answerer.stream()
    pieces = answerer.say(stream, answerer.prompt_ids([{"role": "user", "content": prompt}]))
    if sys.stdout.isatty():
        for piece in pieces:
            console.result(harmless(piece), end="")
        console.result("")
    else:
        console.result("".join(pieces).strip())
    if not stream.ended:
        console.warning(
            f"cut off after {answerer.sampling.max_new_tokens} tokens: --set infer.max_new_tokens=… allows more"
        )
