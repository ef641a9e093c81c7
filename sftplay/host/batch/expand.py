"""Experiments of a batch file, with complete settings, each with a name and data folders of its
own.
"""

from __future__ import annotations

import copy
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.config import settle
from sftplay.errors import SftplayError
from sftplay.files import hash_bytes, hash_json
from sftplay.host.batch.file import BatchFile, ExperimentGroup, Value, problems_in
from sftplay.settings import Settings
from sftplay.yamlfile import Marks, read_yaml

_LONGEST = 63  # characters of a run's name


@dataclass(frozen=True)
class Experiment:
    """One run to be.

    Attributes:
        changes: what sets it apart within its group: dataset and values of the matrix.
        settings: complete; run.name and data.suffix are filled in.
    """

    name: str
    dataset: str
    base: str
    changes: Mapping[str, Value]
    settings: Settings

    @property
    def shape(self) -> str:
        """Hash of the settings that decide what its rows look like: those with the same share their
        data folders.
        """
        kept = self.settings.model_dump(mode="json", include={"data", "style", "model"})
        kept["data"].pop("suffix")
        kept["data"].pop("workers")
        return hash_json(kept)


def expand(batch: BatchFile, path: Path) -> list[Experiment]:
    """Every experiment with its resolved settings.

    Raises:
        ConfigError: settings that are wrong, two runs of one name: all problems at once (78).
    """
    made: list[Experiment] = []
    problems: list[str] = []
    read = functools.cache(read_yaml)  # one base config for hundreds of experiments
    for group in batch.experiments:
        for dataset, values in _combinations(group):
            varied = {**({"dataset": dataset} if len(group.datasets) > 1 else {}), **values}
            name = _name(group.name, varied)
            try:
                made.append(_experiment(batch, group, name, dataset, values, varied, read))
            except SftplayError as error:
                problems.append(
                    f"{name}: {error.what}" + (f" ({error.where})" if error.code != 78 else "")
                )
    counted = Counter(one.name for one in made)
    problems += [
        f"two experiments would be called {name}" for name in sorted(counted) if counted[name] > 1
    ]
    if problems:
        raise problems_in(path, list(dict.fromkeys(problems)))
    return _apart(made)


def _combinations(group: ExperimentGroup) -> Iterator[tuple[str, dict[str, Value]]]:
    for dataset in group.datasets:
        for values in itertools.product(*group.matrix.values()):
            yield dataset, dict(zip(group.matrix, values, strict=True))


def _experiment(
    batch: BatchFile,
    group: ExperimentGroup,
    name: str,
    dataset: str,
    values: Mapping[str, Value],
    varied: Mapping[str, Value],
    read: Callable[[Path], tuple[dict[str, Any], Marks]],
) -> Experiment:
    base = group.config or batch.config
    changes = {**batch.datasets[dataset].values(dataset), **group.set, **values, "run.name": name}
    if changes.get("data.fields") is None and not any(
        key.startswith("data.fields.") for key in changes
    ):
        changes.pop("data.fields", None)
    raw, marks = read(Path(base))
    settings = settle(Path(base), copy.deepcopy(raw), marks, list(changes.items()))
    return Experiment(name, dataset, base, varied, settings)


def _apart(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Experiments of one dataset whose rows differ (another model, another length) get data folders
    of their own.
    """
    suffixes: dict[tuple[str, str], str] = {}
    result = []
    for one in experiments:
        taken = [key for key in suffixes if key[0] == one.dataset]
        suffix = suffixes.setdefault(
            (one.dataset, one.shape), _cut(f"{one.dataset}-{one.name}") if taken else one.dataset
        )
        if suffix == one.dataset:
            result.append(one)
            continue
        data = one.settings.data.model_copy(update={"suffix": suffix})
        settings = one.settings.model_copy(update={"data": data})
        result.append(Experiment(one.name, one.dataset, one.base, one.changes, settings))
    return result


def _name(group: str, varied: Mapping[str, Value]) -> str:
    """`rank-plain-r16`: the group's name and what varies; a long one ends in a hash."""
    words = [group]
    for key, value in varied.items():
        label = "" if key == "dataset" else key.rpartition(".")[2]
        words.append(label + re.sub(r"[^a-z0-9.]+", "_", str(value).lower()).strip("_"))
    return _cut("-".join(words))


def _cut(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{hash_bytes(name.encode()).removeprefix('sha256:')[:8]}"
