"""What a stage needs and the caches lack: `fetch` brings it before the stage starts."""

from __future__ import annotations

from collections.abc import Iterator

from sftplay.errors import NotFoundError
from sftplay.freshness import read_stamp
from sftplay.places import data_folder, find_model, is_local_model
from sftplay.rawdata import hub_datasets
from sftplay.settings import Settings
from sftplay.stages import Stage


def missing(stage: Stage, settings: Settings) -> Iterator[tuple[str, str]]:
    """(what `fetch --only` takes, the name) for what the stage needs and the cache lacks."""
    if stage.raw and not (stage.name == "train" and _was_processed(settings)):
        lacking = [dataset.name for dataset in hub_datasets(settings.data) if not dataset.is_cached]
        if lacking:
            yield "data", ", ".join(lacking)
    if stage.model and not _model_is_there(settings):
        yield "model", settings.model.name


def _was_processed(settings: Settings) -> bool:
    """Whether rows were made of this data.raw before (or by hand): training then goes without the raw files."""
    folder = data_folder("processed", settings)
    stamp = read_stamp(folder)
    if stamp is None:
        return (folder / "train.jsonl").is_file()
    return bool(stamp.section.get("data.raw") == settings.data.raw)


def _model_is_there(settings: Settings) -> bool:
    """Whether no fetch is needed. A local folder is the stage's own to check."""
    if is_local_model(settings.model.name):
        return True
    try:
        find_model(settings)
    except NotFoundError:
        return False
    return True
