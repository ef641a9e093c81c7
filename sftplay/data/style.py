"""style: a style prompt put into the system turn of every conversation → data/processed_with_style.
data/processed stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from sftplay import console
from sftplay.console import count_of
from sftplay.data import output, process
from sftplay.data.blocks import Block, blocks
from sftplay.data.progress import ProgressBar, progress
from sftplay.data.tokenizing.special_tokens import special_in
from sftplay.data.tokenizing.tokenizer import read_tokenizer
from sftplay.errors import DataError, NotFoundError, UsageError
from sftplay.freshness import DataStamp, read_stamp, why_stale
from sftplay.kept_values import given_values, refreshed, relevant
from sftplay.places import data_folder, find_model
from sftplay.stages import Job

_WITHOUT_SYSTEM = (
    b'{"messages":[{"role":"user",'  # how a row begins that `process` wrote without a system turn
)
SECTION = ("style.prompt", "style.prompts", "style.mode")
_SHOWN_ANSWERS = 3
_ASK_FOR_PROMPT = (
    'give one: --style "Answer in one short sentence.", or set style.prompt in the config'
)


@dataclass(frozen=True)
class StylePrompt:
    """A style prompt, and where it goes in the system turn."""

    prompt: str
    mode: str

    @property
    def section(self) -> dict[str, str]:
        """The settings in force, whether they come from the config or from options."""
        return {"style.prompt": self.prompt, "style.mode": self.mode}

    def system(self, before: str) -> str:
        """Return the new system text; `before` is empty where there was none."""
        if not before.strip() or self.mode == "replace":
            return self.prompt
        parts = (self.prompt, before) if self.mode == "prepend" else (before, self.prompt)
        return "\n\n".join(parts)


def style_of(job: Job) -> StylePrompt | None:
    """Return the style asked for by options, else by the config for this dataset, else for all;
    None where there is no prompt.
    """
    settings = job.settings.style
    prompt = job.options.get("style") or settings.prompts.get(
        job.settings.data.suffix or "", settings.prompt
    )
    return (
        StylePrompt(prompt, job.options.get("mode") or job.settings.style.mode)
        if prompt and prompt.strip()
        else None
    )


def section_of_record(record: Mapping[str, str]) -> dict[str, str]:
    """The section of a style as facts of a stamp record it: prompt and mode."""
    return {"style.prompt": record["prompt"], "style.mode": record["mode"]}


def style_in(folder: Path) -> dict[str, str] | None:
    """Prompt and mode of the style that the rows of a folder have; None where they have none."""
    stamp = read_stamp(folder)
    if stamp is None or stamp.stage != "style":
        return None
    return {"prompt": stamp.section["style.prompt"], "mode": stamp.section["style.mode"]}


def wanted(job: Job) -> bool:
    """Tell whether this dataset has a style: a prompt today, or styled rows made before."""
    stamp = read_stamp(data_folder("processed_with_style", job.settings))
    return stamp is not None or style_of(refreshed(job, "style", stamp)) is not None


def freshness(job: Job) -> str | None:
    """Explain why data/processed_with_style has to be made again; None where it is current."""
    folder, source = (
        data_folder(kind, job.settings) for kind in ("processed_with_style", "processed")
    )
    stamp = read_stamp(folder)
    style = style_of(refreshed(job, "style", stamp))
    if stamp is None:
        return "not made yet"
    if style is None:
        return "the config has no style.prompt any more"
    read = output.source_of(source, process.ROW_FILES, read_stamp(source))
    return output.lost_file(folder, stamp) or why_stale(stamp, "style", read, style.section)


def run(job: Job) -> None:
    """Make data/processed_with_style.

    Raises:
        UsageError: no style prompt, neither by option nor in the config (2). NotFoundError: nothing
            processed yet (66).
        DataError: a line that is no processed row (65).
    """
    style = style_of(job)
    if style is None:
        raise UsageError("no style prompt", where="style", todo=_ASK_FOR_PROMPT)
    refuse_unwritable(style.prompt)
    _refuse_special(style.prompt, job)
    source, folder = (
        data_folder(kind, job.settings) for kind in ("processed", "processed_with_style")
    )
    output.require_rows(source, process.ROW_FILES, todo="process the raw rows first: inv process")
    _warn_if_stale(job, source)
    if job.options.get("preview"):
        preview(source, style)
        return
    read = output.source_of(source, process.ROW_FILES, read_stamp(source))
    size = sum((source / name).stat().st_size for name in process.ROW_FILES)
    with (
        output.new_files(folder, "style") as tmp,
        progress(2 * size, "B", "style") as bar,
    ):  # written, then hashed
        rows = {
            name: _style_file(source / name, tmp / name, style, bar) for name in process.ROW_FILES
        }
        files = output.marks(tmp, process.ROW_FILES, bar.advance)
        DataStamp(
            stage="style",
            source=read,
            section=style.section,
            **given_values(job, SECTION, ["style", "mode"]),
            output=output.hash_of(files),
            facts={
                "files": files,
                "rows": {Path(name).stem: count for name, count in rows.items()},
                "prompt_from": _prompt_from(job),
            },
        ).write(tmp)
    _preview(source, folder, style)
    _warn_of_answers(source, style)
    console.success(f"{count_of(sum(rows.values()))} in {folder}, {source} is as it was")


def _prompt_from(job: Job) -> str:
    """Return the source of the prompt: the option, `--set`, or the config file."""
    if job.options.get("style"):
        return "--style"
    return "--set" if relevant(job.overrides, SECTION[:2]) else "config"


def _style_file(source: Path, target: Path, style: StylePrompt, bar: ProgressBar) -> int:
    count = 0
    with open(target, "wb") as out:
        for block in blocks(source):
            rows, lines = styled_block(block, style)
            out.write(lines)
            bar.advance(len(lines))
            count += rows
    return count


def styled_block(block: Block, style: StylePrompt) -> tuple[int, bytes]:
    """Return how many rows a block of a processed file holds, and its lines with the style in them.

    A line feed ends a line and nothing else (inside a JSON text it is escaped), so a block in which
    no row has a system turn is done by one replacement for all its rows: nothing is parsed.

    Raises:
        DataError: a line that is no processed row (65).
    """
    made = (
        b'{"messages":['
        + orjson.dumps({"role": "system", "content": style.prompt})
        + b',{"role":"user",'
    )
    lines, rows = b"\n" + block.lines, block.lines.count(b"\n")
    if block.lines.endswith(b"\n") and lines.count(b"\n" + _WITHOUT_SYSTEM) == rows:
        return rows, lines.replace(b"\n" + _WITHOUT_SYSTEM, b"\n" + made)[1:]
    done = []
    for number, line in enumerate(BytesIO(block.lines), block.first):  # at line feeds only
        if line.startswith(_WITHOUT_SYSTEM):
            done.append(made + line[len(_WITHOUT_SYSTEM) :])
        elif line.strip():
            done.append(_styled(line, style, f"{block.file}:{number}"))
    return len(done), b"".join(done)


def _styled(line: bytes, style: StylePrompt, where: str) -> bytes:
    try:
        row: Any = orjson.loads(line)
        first, rest = row["messages"][0], row["messages"][1:]
        if first["role"] == "system":
            messages = [{**first, "content": style.system(first["content"])}, *rest]
        else:
            messages = [{"role": "system", "content": style.system("")}, first, *rest]
        return orjson.dumps({**row, "messages": messages}, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        todo = "was it edited by hand? make the rows again: inv process"
        raise DataError(f"not a processed row ({error})"[:200], where=where, todo=todo) from None


def refuse_unwritable(prompt: str) -> None:
    """Raise UsageError where a prompt can't be written as UTF-8 (bytes of another encoding on the
    command line).
    """
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "the style prompt is not UTF-8", where="--style", todo="check the terminal's locale"
        ) from None


def _refuse_special(prompt: str, job: Job) -> None:
    """Raise UsageError (2) where the prompt spells a special token of the model. Without the model
    in the cache nothing is known; `render` looks again.
    """
    if job.settings.data.special_tokens_in_text == "keep":
        return
    try:
        tokenizer = read_tokenizer(find_model(job.settings))
    except (NotFoundError, DataError):
        return
    if found := special_in(prompt, tokenizer):
        raise UsageError(
            f"the style prompt spells the special token {found[0]!r}, which would become that token in every row",
            where="style",
            todo="write it differently, or accept it: --set data.special_tokens_in_text=keep",
        )


def _warn_if_stale(job: Job, source: Path) -> None:
    """Warn about stale rows.

    Rows made by hand have no stamp and need none; processed ones should be those of today's raw
    files.
    """
    reason = process.freshness(job) if read_stamp(source) else None
    if reason:
        what, todo = (
            f"{source} is not current ({reason})",
            "`inv process` makes it again, then repeat this",
        )
        if job.options.get("strict"):
            raise DataError(f"--strict: {what}", todo=todo)
        console.warning(f"{what}: {todo}")


def preview(source: Path, style: StylePrompt) -> None:
    """Show rows before and after, on stdout: the first one without a system turn, and the first one
    with one, of each split.
    """
    shown: set[str] = set()
    for name in process.ROW_FILES:
        with open(source / name, "rb") as lines:
            for number, line in enumerate(lines, 1):
                kind = "without" if line.startswith(_WITHOUT_SYSTEM) else "with"
                if kind not in shown and line.strip():
                    shown.add(kind)
                    _show_change(
                        line, style, f"{source / name}:{number}", f"a row {kind} a system turn"
                    )
                if len(shown) == 2:
                    break
    console.info("nothing was written: the same command without --preview does it")


def _show_change(line: bytes, style: StylePrompt, where: str, what: str) -> None:
    before, after = orjson.loads(line), orjson.loads(_styled(line, style, where))
    old = before["messages"][0]["content"] if before["messages"][0]["role"] == "system" else None
    console.result(f"── {what} ({where}), {style.mode}")
    for mark, text in (("-", old), ("+", after["messages"][0]["content"])):
        for part in ("(no system turn)" if text is None else text).split("\n"):
            console.result(f"{mark} {part}")
    turn = next(turn for turn in after["messages"] if turn["role"] != "system")
    console.result(
        f"  {turn['role']}: {_shortened(turn['content'])} (as it was, and all that follows)\n"
    )


def _preview(source: Path, folder: Path, style: StylePrompt) -> None:
    """Say what the change looks like, on the first row."""
    old, new = (_first_system(place) for place in (source, folder))
    console.info(f"system turn of the first row ({style.mode}): before: {old}; after: {new}")


def _warn_of_answers(source: Path, style: StylePrompt) -> None:
    """Show the beginnings of a few answers next to the prompt: nobody but a person can tell whether
    they follow it.
    """
    answers = [
        message["content"]
        for line in islice(_lines(source), _SHOWN_ANSWERS)
        for message in orjson.loads(line)["messages"]
        if message["role"] == "assistant" and message["content"].strip()
    ]
    shown = "".join(f"\n  {_shortened(answer)}" for answer in answers[:_SHOWN_ANSWERS])
    console.warning(
        "the answers stay as they are. Do they follow the style prompt "
        f"{_shortened(style.prompt)}? If not, training teaches the model to ignore it:{shown}"
    )


def _lines(folder: Path) -> Iterator[bytes]:
    for name in process.ROW_FILES:
        with open(folder / name, "rb") as lines:
            yield from lines


def _first_system(folder: Path) -> str:
    for name in process.ROW_FILES:
        with open(folder / name, "rb") as lines:
            line = lines.readline()
        try:
            first = orjson.loads(line)["messages"][0] if line.strip() else None
        except (orjson.JSONDecodeError, LookupError, TypeError):
            return "?"  # not written by `process`; `render` will say what is wrong with it
        if first is not None:
            return _shortened(first["content"]) if first["role"] == "system" else "none"
    return "none"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:99] + "…")
