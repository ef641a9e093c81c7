"""The work of a batch, with reasons: decided from what is there, before and while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sftplay.config import flatten, load_config
from sftplay.errors import SftplayError
from sftplay.files import hash_json
from sftplay.freshness import read_stamp
from sftplay.host.batch.expand import Experiment
from sftplay.host.runs.view import RunView, read_run
from sftplay.places import data_folder
from sftplay.rawdata import hub_datasets
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.untrusted import read_json

Action = Literal["train", "resume", "watch", "evaluate", "skip", "refuse"]


@dataclass(frozen=True)
class ExperimentStep:
    """The next step of an experiment, with the reason."""

    action: Action
    reason: str


def decide(experiment: Experiment, splits: Sequence[str]) -> ExperimentStep:
    """From the run folder as it is now.

    Args:
        splits: the ones that it is to be evaluated on.
    """
    view = read_run(Run(experiment.name))
    if view.state == "running":
        return ExperimentStep("watch", "it is being trained")
    if view.state == "not begun" or not view.run.has_begun():
        return ExperimentStep("train", "not begun")
    obstacle = _obstacle(view, experiment.settings)
    if obstacle:
        return ExperimentStep("refuse", obstacle)
    if view.state != "finished":
        return ExperimentStep(
            "resume", f"{view.state}{f' at step {view.steps}' if view.steps else ''}"
        )
    lacking = [split for split in splits if not (view.run.eval(split) / "metrics.json").is_file()]
    if lacking:
        return ExperimentStep("evaluate", f"trained; not evaluated on {', '.join(lacking)}")
    return ExperimentStep("skip", "finished")


def _obstacle(view: RunView, settings: Settings) -> str:
    """Return why the existing run can't be this experiment's; empty if it can."""
    unlike = _changed_keys(view, settings)
    if unlike:
        return f"a run of this name is there with other settings: {unlike}"
    if view.state == "finished" and _trained_on_other_data(view, settings):
        return "a run of this name was trained on other rows than the dataset has now"
    return f"the run is damaged: {'; '.join(view.problems)}" if view.state == "damaged" else ""


def _changed_keys(view: RunView, settings: Settings) -> str:
    """The keys in which the run's config is not this one."""
    try:
        there = load_config(view.run.config)
    except SftplayError as error:
        return f"its config can't be read ({error.what})"
    mine, theirs = flatten(settings), flatten(there)
    keys = [key for key in mine if mine[key] != theirs.get(key)]
    return ", ".join(keys[:4]) + (" …" if len(keys) > 4 else "")


def _trained_on_other_data(view: RunView, settings: Settings) -> bool:
    """Compare the rows in the data folder with those of the run. If there are none, nothing is
    reported.
    """
    try:
        stamp = read_stamp(data_folder("tokenized", settings))
        return stamp is not None and stamp.facts["values_hash"]["train"] != view.stamp.get(
            "data_hash"
        )
    except (SftplayError, KeyError, TypeError):
        return False


@dataclass(frozen=True)
class DataStep:
    """The work on a dataset's folders: none if there is no reason.

    Attributes:
        key: what the folders were made from, to be kept once they are made.
    """

    suffix: str
    settings: Settings
    reason: str
    key: str


def data_steps(experiments: Sequence[Experiment], known: Mapping[str, str]) -> Iterator[DataStep]:
    """One for each set of data folders.

    Args:
        known: suffix → the key that its folders were last made with.
    """
    for suffix, settings in _by_suffix(experiments).items():
        key = data_key(settings)
        yield DataStep(suffix, settings, _why(settings, known.get(suffix), key), key)


def _by_suffix(experiments: Sequence[Experiment]) -> dict[str, Settings]:
    found: dict[str, Settings] = {}
    for one in experiments:
        found.setdefault(str(one.settings.data.suffix), one.settings)
    return found


def _why(settings: Settings, before: str | None, now: str) -> str:
    for kind in ("processed", "rendered", "tokenized"):
        if not (data_folder(kind, settings) / "stamp.json").is_file():
            return f"{data_folder(kind, settings)} is not made yet"
    if (
        settings.style.prompt
        and not (data_folder("processed_with_style", settings) / "stamp.json").is_file()
    ):
        return f"{data_folder('processed_with_style', settings)} is not made yet"
    if before is None:
        return "not made by this batch"
    return "" if before == now else "its files or its settings changed"


def data_key(settings: Settings) -> str:
    """Hash of what decides a dataset's rows: its settings, and name, size and time of the raw files
    and of the template.

    Cheap, and only to spare starting stages: training itself compares contents, and makes again what
    is stale.
    """
    kept = settings.model_dump(mode="json", include={"data", "style", "model"})
    named = settings.data.sources
    if list(hub_datasets(settings.data)):
        return hash_json([kept, named])
    names = [*named, *([settings.data.chat_template] if settings.data.chat_template else [])]
    return hash_json([kept, [_facts(path) for name in names for path in _files(name)]])


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    return [path] if path.exists() else sorted(Path().glob(name)) if not path.is_absolute() else []


def _facts(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def read_known(path: Path) -> dict[str, str]:
    """Suffix → key, from an earlier start of the batch."""
    try:
        value = read_json(path)
        return {str(key): str(item) for key, item in value["data"].items()}
    except (SftplayError, KeyError, TypeError, AttributeError):
        return {}
