"""A file of prompts: txt with one prompt a line, or jsonl; either may be packed (gz, zst)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, not_utf8
from sftplay.data.readers.stream import Source, open_source, refuse_cr_only
from sftplay.data.readers.strict_json import parse_row
from sftplay.data.rejects import BadRowError
from sftplay.errors import DataError, NotFoundError, UsageError

_PACKED = {".gz", ".zst"}
_ROWS = {".jsonl", ".ndjson"}
_TEXT = {".txt", ".text", ".md", ""}
_QUESTIONS = ("prompt", "question", "user", "instruction")
_ROLES = ("system", "user", "assistant", "tool")  # a row may have anything, a list too
_WANTED = (
    'a row is a text, or an object with "messages" (the last one from the user) or one of '
    f'{", ".join(f"{chr(34)}{key}{chr(34)}" for key in _QUESTIONS)}; "id" and "system" are optional'
)


@dataclass(frozen=True)
class Prompt:
    """One prompt of a file.

    Attributes:
        place: file and line, for messages.
        prompt_id: the row's own id, else its number in the file, from 1.
        given: what the answer's row repeats: `prompt` (a text) or `messages`.
        messages: the conversation, without a system turn where the row has none.
    """

    place: str
    prompt_id: str | int
    given: Mapping[str, Any]
    messages: tuple[dict[str, str], ...]


def stem(path: Path) -> str:
    """The file's name without what says how it is packed and written: q.jsonl.gz → q."""
    name = PurePath(path.name)
    name = name.with_suffix("") if name.suffix.lower() in _PACKED else name
    return name.stem


def read_prompts(path: Path) -> Iterator[Prompt]:
    """Every prompt of a file, in order. Blank lines are none.

    Raises:
        NotFoundError: no such file (66). UsageError: neither txt nor jsonl, by its name (2).
        DataError: a row is not a prompt, with file and line (65).
    """
    if not path.is_file():
        raise NotFoundError("no such file of prompts", where=str(path))
    kind = (
        PurePath(path.name).with_suffix("")
        if path.suffix.lower() in _PACKED
        else PurePath(path.name)
    )
    if kind.suffix.lower() not in _ROWS | _TEXT:
        raise UsageError(
            f"a file of prompts ends in .txt (one prompt a line) or .jsonl, not in {kind.suffix}",
            where=str(path),
        )
    with open_source(path, str(path)) as source:
        number = 0
        for line, text in _lines(source):
            if text.strip():
                number += 1
                place = f"{path}:{line}"
                yield (
                    _from_row(text, place, number)
                    if kind.suffix.lower() in _ROWS
                    else _from_text(text, place, number)
                )


def _lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """(number, line) cut at line feeds and nothing else."""
    refuse_cr_only(source.head, source.name)
    line, rest = 1, b""
    while block := source.read(PIECE_BYTES):
        *whole, rest = (rest + block).split(b"\n")
        for text in whole:
            yield line, text.removesuffix(b"\r")
            line += 1
        if len(rest) > MAX_ROW_BYTES:
            raise DataError("a line of over 16 MiB", where=f"{source.name}:{line}")
    if rest:
        yield line, rest.removesuffix(b"\r")


def _from_text(text: bytes, place: str, number: int) -> Prompt:
    question = _decoded(text, place).strip()
    return Prompt(place, number, {"prompt": question}, _asked(question, None))


def _from_row(text: bytes, place: str, number: int) -> Prompt:
    try:
        row = parse_row(text)
    except BadRowError as bad:
        column = f":{bad.column}" if bad.column else ""
        raise DataError(f"{bad.reason} ({bad.detail})", where=f"{place}{column}") from None
    except UnicodeDecodeError as error:
        raise not_utf8(text[error.start], None, place) from None
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, dict):
        raise DataError("not a prompt", where=place, todo=_WANTED)
    row_id = row.get("id")
    prompt_id = row_id if isinstance(row_id, str | int) and not isinstance(row_id, bool) else number
    conversation = row.get("messages", row.get("prompt"))
    if isinstance(conversation, list):
        messages = _conversation(conversation, place)
        return Prompt(place, prompt_id, {"messages": messages}, _with_system(row, place, messages))
    question = _question(row, place)
    return Prompt(
        place, prompt_id, {"prompt": question}, _with_system(row, place, _asked(question, None))
    )


def _question(row: Mapping[str, Any], place: str) -> str:
    found = next((row[key] for key in _QUESTIONS if isinstance(row.get(key), str)), "").strip()
    extra = row.get("input") if isinstance(row.get("instruction"), str) else None
    if not found:
        raise DataError("no prompt in this row", where=place, todo=_WANTED)
    return f"{found}\n\n{extra.strip()}" if isinstance(extra, str) and extra.strip() else str(found)


def _conversation(turns: list[Any], place: str) -> tuple[dict[str, str], ...]:
    for turn in turns:
        known = (
            isinstance(turn, dict)
            and turn.get("role") in _ROLES
            and isinstance(turn.get("content"), str)
        )
        if not known:
            raise DataError(
                "a message requires a role (system, user, assistant) and text as content",
                where=place,
            )
    if not turns or turns[-1]["role"] not in ("user", "tool"):
        raise DataError(
            "the last message must be the user's: there is nothing to answer", where=place
        )
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)


def _with_system(
    row: Mapping[str, Any], place: str, messages: tuple[dict[str, str], ...]
) -> tuple[dict[str, str], ...]:
    system = row.get("system")
    if system is None or not str(system).strip():
        return messages
    if not isinstance(system, str) or messages[0]["role"] == "system":
        raise DataError("`system` requires one text, and no system message next to it", where=place)
    return ({"role": "system", "content": system}, *messages)


def _asked(question: str, system: str | None) -> tuple[dict[str, str], ...]:
    opening = () if system is None else ({"role": "system", "content": system},)
    return (*opening, {"role": "user", "content": question})


def _decoded(text: bytes, place: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(text[error.start], None, place) from None
