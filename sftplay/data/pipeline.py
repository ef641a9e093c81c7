"""The data stages in order: which of them have to run again, and bringing them up to date with what
was asked of them before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.files import TMP_PREFIX
from sftplay.freshness import read_stamp, refreshed
from sftplay.places import data_folder
from sftplay.stages import BY_NAME, Job

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


def ensure_current(job: Job, *, refuse: bool) -> Path:
    """Bring data/tokenized up to date: every stage that is missing or stale runs, with the
    overrides and options stamped in it.

    Args:
        job: of any stage; its config and overrides count, on top of the stamped ones.
        refuse: raise instead of running anything.

    Returns:
        The folder with the tokenized rows.

    Raises:
        RefusedError: something is stale and `refuse` is set, or the style that rows were made with
            is gone from the config (76).
        Whatever the stages raise.
    """
    for step in _steps(job):
        if refuse:
            raise RefusedError(
                f"{step.stage} has to run again: {step.reason}",
                where=str(step.folder),
                todo=f"python -m sftplay {step.stage} --config {job.config_file}, then the stages after it; "
                "or leave --no-auto out, and it is done for you",
            )
        console.info(f"{step.stage}: {step.reason}, running it{_repeated(step, job)}")
        importlib.import_module(BY_NAME[step.stage].module).run(step.job)
    return data_folder("tokenized", job.settings)


def _steps(job: Job) -> Iterator[StaleStage]:
    """Yield the stages that have to run.

    Lazy: whether a stage is stale is known once the ones before it have run.
    """
    for stage, kind in FOLDERS.items():
        folder = data_folder(kind, job.settings)
        module = importlib.import_module(BY_NAME[stage].module)
        if (stage == "style" and not _has_style(job)) or (
            stage == "process" and _is_handmade(folder)
        ):
            continue
        reason = module.freshness(job)
        if reason is not None:
            yield StaleStage(stage, refreshed(job, stage, read_stamp(folder)), folder, reason)


def _has_style(job: Job) -> bool:
    """Tell whether the rows to render are styled ones.

    Raises:
        RefusedError: they were, and neither the config nor the stamp knows the prompt any more
            (76).
    """
    from sftplay.data import style

    rendering = refreshed(job, "render", read_stamp(data_folder("rendered", job.settings)))
    if rendering.options.get("no_style") or not style.wanted(job):
        return False
    stamp = read_stamp(data_folder("processed_with_style", job.settings))
    if stamp is not None and style.style_of(refreshed(job, "style", stamp)) is None:
        raise RefusedError(
            f"the rows have a style, but the config has none any more (it was {stamp.section.get('style.prompt')!r})",
            where=str(data_folder("processed_with_style", job.settings)),
            todo="keep it: put it back into style.prompt\ndrop it: python -m sftplay render --no-style "
            f"--config {job.config_file}",
        )
    return True


def _is_handmade(folder: Path) -> bool:
    """Processed rows without a stamp are somebody's own work; a stage that was killed leaves a
    temporary folder behind.
    """
    made = (folder / "train.jsonl").is_file() and read_stamp(folder) is None
    if made and not any(folder.glob(f"{TMP_PREFIX}*")):
        console.info(f"{folder} has no stamp: rows made by hand, left as they are")
        return True
    return False


def _repeated(step: StaleStage, job: Job) -> str:
    """Describe what a refresh repeats of an earlier command line."""
    given = {override.partition("=")[0] for override in job.overrides}
    latest = {override.partition("=")[0]: override for override in step.job.overrides}
    sets = [f"--set {override}" for key, override in latest.items() if key not in given]
    options = [
        option.name if option.kind == "flag" else f"{option.name} {step.job.options[option.key]!r}"
        for option in BY_NAME[step.stage].options
        if step.job.options.get(option.key) not in (None, False, option.default)
    ]
    return f" as before with {' '.join((*sets, *options))}" if sets or options else ""
