"""Answers to a file of prompts, as jsonl in the order of the prompts.

Stopped and started again it continues where it was.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from sftplay import console
from sftplay.data.progress import progress
from sftplay.errors import BusyError, DataError, RefusedError, StorageError, UsageError
from sftplay.files import explain_os_error, hash_json, write_json
from sftplay.model.answers.prompt_file import Prompt, read_prompts, stem
from sftplay.places import output_file
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.untrusted import read_json

_WINDOW = 2  # batches whose prompts are sorted by length together
_OTHER = "name another file: --output FILE\nor move {} away to start again"


def run_batch(job: Job, source: Path) -> None:
    """Answer every prompt of a file.

    Raises:
        DataError: a row is not a prompt, or can't be asked (65). NotFoundError: no such file, no
            trained run (66).
        RefusedError: the output holds answers of another model, settings or prompts (76). BusyError
            (75).
    """
    total = sum(
        1 for _ in read_prompts(source)
    )  # reads the whole file: a bad row is found before the model is loaded
    if not total:
        raise DataError("no prompts in it", where=str(source))
    output = _output(job, source)
    from sftplay.model.answers.opening import open_answerer

    with _opened(output) as out:
        answerer = open_answerer(job)
        _check_identity(output, dict(answerer.identity), out)
        done = _finished(output, source, out)
        if done == total:
            console.success(f"all {total:,} prompts are answered already")
        else:
            if done:
                console.info(f"{done:,} of {total:,} prompts are answered already")
            lengths = [
                len(_ids(answerer, prompt)) for prompt in islice(read_prompts(source), done, None)
            ]
            console.info(
                f"{answerer.name}: {len(lengths):,} prompts, {max(lengths):,} tokens the longest"
            )
            _answer(answerer, source, out, done, total, job.settings.infer.batch_size)
            console.success(f"{total:,} answers")
    console.result(str(output))


def _output(job: Job, source: Path) -> Path:
    """Return the file for the answers: --output, else one in the run's predictions/."""
    given = job.options.get("output")
    kind = next((f".{name}" for name in ("base", "gguf") if job.options.get(name)), "")
    suffix = f"{kind}.jsonl"
    output = (
        output_file(given) if given else Run(job.run_name).predictions / f"{stem(source)}{suffix}"
    )
    if output.is_dir() or (output.exists() and output.samefile(source)):
        raise UsageError(
            "the answers need a file of their own",
            where=str(output),
            todo="name one: --output FILE",
        )
    return output


@contextmanager
def _opened(output: Path) -> Iterator[IO[bytes]]:
    """The output, open for reading and appending, ours alone.

    Raises:
        BusyError: another process writes there (75).
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output, "a+b") as out:
            try:
                fcntl.flock(out.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    "another process writes answers there",
                    where=str(output),
                    todo="wait for it, or use --output",
                ) from None
            yield out
    except OSError as error:
        raise explain_os_error(error, output) from error


def _check_identity(output: Path, identity: dict[str, Any], out: IO[bytes]) -> None:
    """Refuse to mix answers of two models or settings: what made them stands in FILE.meta.json."""
    record = output.with_name(f"{output.name}.meta.json")
    identity = {**identity, "hash": hash_json(identity)}
    if out.tell() and not record.is_file():
        raise RefusedError(
            "nobody knows what made these answers", where=str(output), todo=_OTHER.format(output)
        )
    if out.tell():
        known = read_json(record)
        changed = sorted(
            key for key in {*identity, *known} - {"hash"} if known.get(key) != identity.get(key)
        )
        if changed:
            raise RefusedError(
                f"it holds answers of another model or other settings ({', '.join(changed)})",
                where=str(output),
                todo=_OTHER.format(output),
            )
    else:
        write_json(record, identity)


def _finished(output: Path, source: Path, out: IO[bytes]) -> int:
    """Count the prompts that are answered; cut off a last line that was torn by a kill.

    Raises:
        RefusedError: the answers are not those to the first prompts of this file (76).
            StorageError: damaged (74).
    """
    out.seek(0)
    done, whole = 0, 0
    prompts = read_prompts(source)
    for line in out:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if out.read(1):
                raise StorageError(
                    f"not valid JSON ({error.msg})", where=f"{output}:{done + 1}"
                ) from None
            break
        if not line.endswith(b"\n"):
            break
        prompt = next(prompts, None)
        row = row if isinstance(row, dict) else {}
        if prompt is None or {
            "id": row.get("id"),
            **{key: row.get(key) for key in prompt.given},
        } != _question(prompt):
            raise RefusedError(
                f"its answer {done + 1} is not to prompt {done + 1} of {source}: the prompts changed",
                where=str(output),
                todo=_OTHER.format(output),
            )
        done, whole = done + 1, whole + len(line)
    out.truncate(whole)
    out.seek(0, os.SEEK_END)
    return done


def _question(prompt: Prompt) -> dict[str, Any]:
    """Return the part of its prompt that an answer's row repeats, as it reads back from JSON."""
    row: dict[str, Any] = orjson.loads(orjson.dumps({"id": prompt.prompt_id, **prompt.given}))
    return row


def _ids(answerer: Any, prompt: Prompt) -> list[int]:
    try:
        ids: list[int] = answerer.prompt_ids(prompt.messages)
    except DataError as error:
        raise DataError(error.what, where=prompt.place, todo=error.todo) from error
    return ids


def _answer(answerer: Any, source: Path, out: IO[bytes], done: int, total: int, size: int) -> None:
    """Answer prompts from number `done` on; rows are written in order as soon as all before them
    are there.
    """
    asked: dict[int, Prompt] = {}
    ready: dict[int, bytes] = {}
    following = done
    with progress(total, "prompt", "answers", done) as bar:
        requests = _requests(answerer, source, done, _WINDOW * size, asked)
        for key, answer in answerer.answers(requests, size, bar.advance):
            text = answerer.text(answer.ids)
            row = {
                **_question(asked.pop(key)),
                "answer": text,
                "ended": answer.ended,
                "tokens": len(answer.ids),
            }
            ready[key] = orjson.dumps(row) + b"\n"
            if following in ready:
                while following in ready:
                    out.write(ready.pop(following))
                    following += 1
                out.flush()
    os.fsync(out.fileno())


def _requests(
    answerer: Any, source: Path, done: int, window: int, asked: dict[int, Prompt]
) -> Iterator[Any]:
    """Requests for the prompts from number `done` on, the longest of each window first."""
    from sftplay.model.answers.generate import Request

    numbered = islice(enumerate(read_prompts(source)), done, None)
    longest = answerer.sampling.max_new_tokens
    while part := list(islice(numbered, window)):
        asked.update(part)
        tokenized = [(number, _ids(answerer, prompt)) for number, prompt in part]
        for number, ids in sorted(tokenized, key=lambda entry: (-len(entry[1]), entry[0])):
            yield Request(number, ids, answerer.prompter.room(ids, longest))
