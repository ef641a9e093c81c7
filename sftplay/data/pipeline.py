"""The data stages in order: which of them have to run again, and bringing them up to date with what
was asked of them before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.cli import quote_yaml
from sftplay.data import style
from sftplay.data.styling.prompt import section_of_record, style_of
from sftplay.errors import RefusedError
from sftplay.freshness import read_stamp
from sftplay.kept_values import kept_values, refreshed, with_overrides, words_for
from sftplay.places import data_folder
from sftplay.stages import BY_NAME, Job
from sftplay.temporary import TMP_PREFIX

# stage → the kind of its folder under data/
FOLDERS = {
    "process": "processed",
    "style": "processed_with_style",
    "render": "rendered",
    "tokenize": "tokenized",
}


@dataclass(frozen=True)
class StaleStage:
    """A stage that has to run: with which settings and options, and why."""

    stage: str
    job: Job
    folder: Path
    reason: str


def ensure_current(job: Job, *, refuse: bool) -> Job:
    """Bring data/tokenized up to date: every stage that is missing or stale runs. What is kept of
    earlier data commands is printed.

    Args:
        job: of any stage; its config and overrides win over what earlier commands were given.
        refuse: raise instead of running anything.

    Returns:
        The job with the settings that the rows were really made with: kept ones among them.

    Raises:
        RefusedError: something is stale and `refuse` is set, or the style that rows were made with
            is gone from the config (76).
        Whatever the stages raise.
    """
    styled = _has_style(job)
    _say_kept(job, styled=styled)
    # A style that was for one command stays in its folder; the rows are rendered without it.
    unstyled = {} if styled else {"no_style": True}
    for step in _steps(replace(job, options={**job.options, **unstyled}), styled=styled):
        if refuse:
            words = words_for(step.job, step.stage, _module(step.stage).SECTION)
            raise RefusedError(
                f"{step.stage} has to run again: {step.reason}",
                where=str(step.folder),
                todo=f"python -m sftplay {step.stage} {words}, then the stages after it; "
                "or leave --no-auto out, and it is done for you",
            )
        console.info(f"{step.stage}: {step.reason}, running it")
        _module(step.stage).run(step.job)
    return _as_made(job)


def _module(stage: str) -> Any:
    return importlib.import_module(BY_NAME[stage].module)


def _say_kept(job: Job, *, styled: bool) -> None:
    """Print each value of an earlier data command that this one keeps."""
    for stage, kind in FOLDERS.items():
        stamp = read_stamp(data_folder(kind, job.settings))
        if stage == "style" and not styled:
            continue
        for value in kept_values(job, stage, stamp):
            console.info(str(value))


def _as_made(job: Job) -> Job:
    """The job with the overrides under which the rows were made, its own last."""
    overrides: list[str] = []
    for stage in ("process", "render", "tokenize"):
        folder = data_folder(FOLDERS[stage], job.settings)
        kept = refreshed(job, stage, read_stamp(folder)).overrides
        overrides += [one for one in kept if one not in job.overrides]
    tokenized = read_stamp(data_folder("tokenized", job.settings))
    made = with_overrides(job, (*overrides, *job.overrides)) if overrides else job
    used = tokenized.facts.get("style") if tokenized else None
    wanted = style_of(replace(made, options={}))
    if (wanted.section if wanted else None) == (used and section_of_record(used)):
        return made
    prompt, mode = (used["prompt"], used["mode"]) if used else (None, None)
    sets = ["style.prompts={}", f"style.prompt={quote_yaml(prompt) if prompt else 'null'}"]
    return with_overrides(made, (*made.overrides, *sets, *([f"style.mode={mode}"] if mode else [])))


def _steps(job: Job, *, styled: bool) -> Iterator[StaleStage]:
    """Yield the stages that have to run.

    Lazy: whether a stage is stale is known once the ones before it have run.
    """
    for stage, kind in FOLDERS.items():
        folder = data_folder(kind, job.settings)
        if (stage == "style" and not styled) or (stage == "process" and _is_handmade(folder)):
            continue
        reason = _module(stage).freshness(job)
        if reason is not None:
            yield StaleStage(stage, refreshed(job, stage, read_stamp(folder)), folder, reason)


def _has_style(job: Job) -> bool:
    """Tell whether the rows to render are styled ones.

    Raises:
        RefusedError: they were, and neither the config nor the stamp knows the prompt any more
            (76).
    """
    folder = data_folder("processed_with_style", job.settings)
    rendered = read_stamp(data_folder("rendered", job.settings))
    if refreshed(job, "render", rendered).options.get("no_style") or not style.wanted(job):
        return False
    stamp = read_stamp(folder)
    if stamp is None or style_of(refreshed(job, "style", stamp)) is not None:
        return True
    prompt = stamp.section.get("style.prompt")
    if stamp.facts.get("prompt_from") == "--set":
        if rendered is None or rendered.facts.get("from") == folder.name:
            console.info(
                f"style: {prompt!r} was for one command (--set), and this one has no style prompt: "
                f"the rows are rendered without it; {folder} stays"
            )
        return False
    raise RefusedError(
        f"the rows have a style, but the config has none any more (it was {prompt!r})",
        where=str(folder),
        todo="keep it: put it back into style.prompt\ndrop it: python -m sftplay render --no-style "
        f"--config {job.config_file}",
    )


def _is_handmade(folder: Path) -> bool:
    """Processed rows without a stamp are somebody's own work; a stage that was killed leaves a
    temporary folder behind.
    """
    made = (folder / "train.jsonl").is_file() and read_stamp(folder) is None
    if made and not any(folder.glob(f"{TMP_PREFIX}*")):
        console.info(f"{folder} has no stamp: rows made by hand, left as they are")
        return True
    return False
