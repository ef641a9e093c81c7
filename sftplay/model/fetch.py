"""Stage `fetch`: bring the model and hub datasets into the cache.

The only stage with network; everything else runs offline.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.files import explain_os_error, human_size, write_json
from sftplay.lmeval import is_file, record_of, split_words
from sftplay.model import smollm2
from sftplay.model.hub.download import Repository, download, fits
from sftplay.places import DEFAULT_MODEL, cache_folder, find_model, is_local_model, model_record
from sftplay.rawdata import KINDS, METADATA, HubDataset, hub_datasets, kind_of
from sftplay.stages import Job
from sftplay.task_file import read_task

# Safetensors, configuration, tokenizer, template: no pickle, no code.
WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "*.txt",
    "LICENSE*",
    "README.md",  # names the license
]
_WITHOUT_HUB = "write its rows into a file, and a task file of your own that reads it"
CARD = "README.md"  # of a dataset: which of its files are one configuration
IGNORED = [pattern for name in (*METADATA, ".*") for pattern in (name, f"*/{name}")]


def run(job: Job) -> None:
    """Fetch `model.name` and the hub datasets of `data.raw` if they are not in the cache; each one's
    record is written last.
    """
    try:  # a cache that can't be made is no failure of the hub's client
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, cache_folder()) from error
    if job.options.get("tasks") is not None:
        _fetch_tasks(job)
        return
    only = job.options.get("only")
    if only != "model":
        for dataset in hub_datasets(job.settings.data):
            _fetch_dataset(dataset)
    if only != "data":
        _fetch_model(job)


def _fetch_tasks(job: Job) -> None:
    """Bring the datasets that tasks of lm-eval read into the cache; the record of a public task
    lists them.
    """
    from sftplay.model.lmeval.public import datasets_of_names

    words = split_words(str(job.options["tasks"]))
    trusted = bool(job.options.get("trust_tasks"))
    for word in filter(is_file, words):
        for dataset in read_task(Path(word), trusted=trusted).datasets:
            _fetch_dataset(dataset, "dataset_path", _WITHOUT_HUB)
    for name, datasets in datasets_of_names([w for w in words if not is_file(w)]).items():
        for dataset in datasets:
            _fetch_dataset(dataset, "--tasks", _WITHOUT_HUB)
        listed = [{"name": one.name, "revision": one.revision} for one in datasets]
        write_json(record_of(name), {"task": name, "datasets": listed})
        console.success(f"the data of the task {name} is in the cache")


def _fetch_model(job: Job) -> None:
    name = job.settings.model.name
    if is_local_model(name):
        console.info(f"{name} is a local folder: nothing to fetch ({find_model(job.settings)})")
        return
    try:
        console.info(f"{name} is in the cache already: {find_model(job.settings)}")
        return
    except NotFoundError:
        pass
    record = model_record(name, job.settings.model.revision)
    if name == DEFAULT_MODEL:
        folder, revision = smollm2.write_safetensors(cache_folder() / "models")
    else:
        folder, revision = _download_model(name, job.settings.model.revision)
    write_json(
        record,
        {"name": name, "revision": revision, "folder": os.path.relpath(folder, cache_folder())},
    )
    _report_done(name, (path for path in folder.rglob("*") if path.is_file()))


def _fetch_dataset(
    dataset: HubDataset, key: str = "data.raw", elsewhere: str = "set data.raw to a local folder"
) -> None:
    """Bring a dataset's data files into the cache.

    Args:
        key: who asked for it; elsewhere: what to do without the hub.

    Raises:
        NotFoundError: no such dataset, or no file in it that can be read (66). MachineError,
            PermissionDeniedError (69, 77).
    """
    if dataset.is_cached:
        console.info(f"{dataset.name} is in the cache already: {dataset.record}")
        return
    patterns = (*dataset.patterns, CARD)
    wanted = Repository(
        "dataset", key, dataset.name, dataset.revision, patterns, IGNORED, elsewhere
    )
    folder = download(wanted)
    files = _data_files(folder, dataset)
    if not files:
        which = f" that fits {dataset.pattern}" if dataset.pattern else ""
        raise NotFoundError(
            f"the dataset {dataset.name} holds no data file{which} (wanted: {', '.join(KINDS)}, also packed)",
            where=str(folder),
            todo="look at its files on its hub page, and name some: data.raw: OWNER/NAME:FOLDER",
        )
    write_json(
        dataset.record,
        {
            "name": dataset.name,
            "revision": folder.name,
            "pattern": dataset.pattern,
            "folder": os.path.relpath(folder, cache_folder()),
            "files": files,
        },
    )
    _report_done(
        f"{dataset.name} ({', '.join(files[:4])}{' …' if len(files) > 4 else ''})",
        (folder / f for f in files),
    )


def _data_files(folder: Path, dataset: HubDataset) -> list[str]:
    """The wanted files of a snapshot, which may hold others from an earlier fetch, relative and in
    order.
    """
    inside = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    return [
        name
        for name in inside
        if kind_of(Path(name)) and fits(name, dataset.patterns) and not fits(name, IGNORED)
    ]


def _report_done(what: str, files: Iterable[Path]) -> None:
    console.success(
        f"{what} is in the cache ({human_size(sum(path.stat().st_size for path in files))})"
    )


def _download_model(name: str, revision: str | None) -> tuple[Path, str]:
    """One snapshot from the hub → (folder, commit)."""
    elsewhere = f"set model.name to a local folder or to {DEFAULT_MODEL}, which needs no hub"
    folder = download(
        Repository("model", "model.name", name, revision, WANTED, elsewhere=elsewhere)
    )
    if not any(folder.glob("*.safetensors")):
        raise NotFoundError(
            f"{name} holds no safetensors weights",
            where=str(folder),
            todo="pickle weights are not loaded: choose another",
        )
    return folder, folder.name
