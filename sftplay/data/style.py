"""style: a style prompt put into the system turn of every conversation → data/processed_with_style.
data/processed stays.
"""

from __future__ import annotations

from pathlib import Path

from sftplay import console
from sftplay.console import count_of
from sftplay.data import output, process
from sftplay.data.blocks import blocks
from sftplay.data.progress import ProgressBar, progress
from sftplay.data.styling.changes import preview, show_first_change, warn_of_answers
from sftplay.data.styling.prompt import StylePrompt, refuse_special, refuse_unwritable, style_of
from sftplay.data.styling.rows import styled_block
from sftplay.errors import DataError, UsageError
from sftplay.freshness import DataStamp, read_stamp, why_stale
from sftplay.kept_values import given_values, refreshed, relevant
from sftplay.places import data_folder
from sftplay.stages import Job

SECTION = ("style.prompt", "style.prompts", "style.mode")
_ASK_FOR_PROMPT = (
    'give one: --style "Answer in one short sentence.", or set style.prompt in the config'
)


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
    refuse_special(style.prompt, job)
    source, folder = (
        data_folder(kind, job.settings) for kind in ("processed", "processed_with_style")
    )
    output.require_rows(source, process.ROW_FILES, todo="process the raw rows first: inv process")
    _warn_if_stale(job, source)
    if job.options.get("preview"):
        preview(_files(source), style)
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
    show_first_change(_files(source), _files(folder), style)
    warn_of_answers(_files(source), style)
    console.success(f"{count_of(sum(rows.values()))} in {folder}, {source} is as it was")


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in process.ROW_FILES]


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
