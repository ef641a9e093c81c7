"""Stage `fetch`: bring the model and hub datasets into the cache.

The only stage with network; everything else runs offline.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from sftplay import console
from sftplay.data.progress import progress
from sftplay.errors import MachineError, NotFoundError, PermissionDeniedError
from sftplay.files import explain_os_error, human_size, write_json
from sftplay.lmeval import is_file, record_of, split_words
from sftplay.model import smollm2
from sftplay.model.hub.access import first_line, read_token
from sftplay.model.runtime.hub_progress import counting_into
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


@dataclass(frozen=True)
class _Repository:
    """A repository of the hub, and its name in messages: `kind` is `model` or `dataset`, `key` the
    config's key.
    """

    kind: str
    key: str
    name: str
    revision: str | None
    patterns: Sequence[str]
    ignored: Sequence[str] = ()
    elsewhere: str = ""


def run(job: Job) -> None:
    """Fetch `model.name` and the hub datasets of `data.raw` if they are not in the cache; each one's
    record is written last.
    """
    try:  # a cache that can't be made is no failure of the hub's client
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, cache_folder()) from error
    if job.options.get("tasks"):
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
    wanted = _Repository(
        "dataset", key, dataset.name, dataset.revision, patterns, IGNORED, elsewhere
    )
    folder = _download(wanted)
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
        if kind_of(Path(name)) and _fits(name, dataset.patterns) and not _fits(name, IGNORED)
    ]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    """As huggingface_hub compares its `allow_patterns`."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def _report_done(what: str, files: Iterable[Path]) -> None:
    console.success(
        f"{what} is in the cache ({human_size(sum(path.stat().st_size for path in files))})"
    )


def _download_model(name: str, revision: str | None) -> tuple[Path, str]:
    """One snapshot from the hub → (folder, commit)."""
    elsewhere = f"set model.name to a local folder or to {DEFAULT_MODEL}, which needs no hub"
    folder = _download(
        _Repository("model", "model.name", name, revision, WANTED, elsewhere=elsewhere)
    )
    if not any(folder.glob("*.safetensors")):
        raise NotFoundError(
            f"{name} holds no safetensors weights",
            where=str(folder),
            todo="pickle weights are not loaded: choose another",
        )
    return folder, folder.name


def _download(wanted: _Repository) -> Path:
    """A snapshot's folder in the cache; its name is the commit. The hub's errors become ours."""
    from huggingface_hub import errors, snapshot_download

    name, revision = wanted.name, wanted.revision
    console.info(f"fetching {name} from the Hugging Face hub")
    try:
        with progress(None, "B", "fetch") as bar:
            folder = snapshot_download(
                name,
                repo_type=wanted.kind,
                revision=revision,
                cache_dir=cache_folder() / "hub",
                allow_patterns=[*wanted.patterns],
                ignore_patterns=[*wanted.ignored] or None,
                token=read_token() or False,
                tqdm_class=counting_into(bar),
            )
        return Path(folder)
    except errors.GatedRepoError as error:
        raise PermissionDeniedError(
            f"the {wanted.kind} {name} is gated",
            todo=f"accept its terms on its hub page, then put a token into a file and set HF_TOKEN_PATH to it; {first_line(error)}",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"the hub has no {wanted.kind} {name}"
            + (f" at revision {revision}" if revision else ""),
            todo=f"check {wanted.key} (private {wanted.kind}s need a token file: HF_TOKEN_PATH), or {wanted.elsewhere}",
        ) from error
    except errors.HFValidationError as error:
        raise NotFoundError(
            f"{name} is neither a folder here nor a hub id",
            todo=f"check {wanted.key} in the config",
        ) from error
    except (
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.HTTPError,  # type: ignore[attr-defined]  # the client library's own, which the hub's module imports
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # disk full and the like own their codes
        raise MachineError(
            f"{name} is not in the cache, and the hub can't be reached",
            todo=f"connect to the network and run the same command again; or {wanted.elsewhere}",
        ) from error
