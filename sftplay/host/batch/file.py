"""The batch file: datasets, experiments, and what a matrix makes of them.

Every problem in it is found before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sftplay.cli import DEFAULT_CONFIG
from sftplay.errors import ConfigError
from sftplay.files import write_text
from sftplay.settings import NAME_PATTERN
from sftplay.validation import in_words
from sftplay.yamlfile import Marks, read_yaml

SortedBy = Literal[
    "loss",
    "perplexity",
    "exact_match",
    "token_f1",
    "rouge_l",
    "chrf",
    "ended",
    "val_loss",
    "train_loss",
    "name",
]
MOST = 1000  # experiments of one file
Value = str | int | float | bool | list[Any] | dict[str, Any] | None

TEMPLATE = """\
# python3 tasks.py batch --file {file}
# Every dataset goes through process, style and render, into folders of its own (data/processed_<dataset>/ …); then every
# experiment is trained into outputs/<experiment>/ and evaluated. Started again it continues: what is done is not done twice.
# `--dry-run` says what would run, and why. Any key of a config (inv config.show) may stand under `set` and `matrix`.

sort_by: val_loss         # of the table at the end, within each dataset: {metrics}
split: val                # what experiments are evaluated on: val, test, all, or none
config: {config}    # settings that all experiments share; an experiment may name another one

datasets:
  plain:
    raw: data/raw         # your files: a folder, a file, a glob, a hub dataset, or a list of these
    # mix: {{a.jsonl: 3, owner/name: 1}}   # instead of raw: several of these, in given shares
  brief:                  # the same rows with a style prompt
    raw: data/raw
    style: Answer in one short sentence.
    # style_mode: prepend # prepend, append or replace: where the style prompt goes in the system turn
    # format: auto        # or alpaca, sharegpt, messages, …
    # fields: {{user: question, assistant: answer}}
    # set: {{data.val_share: 0.1}}

experiments:
  - name: first
    dataset: plain
    set:
      train.max_steps: 20
  - name: rank            # four runs: rank-plain-r8, rank-plain-r16, rank-brief-r8, rank-brief-r16
    dataset: [plain, brief]
    matrix:
      lora.r: [8, 16]
    set:
      train.max_steps: 20
"""


class BatchSection(BaseModel):
    """A part of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Dataset(BatchSection):
    """A source of rows, and the style they get."""

    raw: str | list[str] | None = None
    mix: dict[str, Any] | None = None
    style: str | None = None
    style_mode: Literal["prepend", "append", "replace"] = "prepend"
    format: str = "auto"
    fields: dict[str, str] | None = None
    set: dict[str, Value] = {}

    def values(self, name: str) -> dict[str, Value]:
        """Its settings by key."""
        fields = {f"data.fields.{key}": value for key, value in (self.fields or {}).items()}
        style: dict[str, Value] = (
            {"style.prompt": self.style, "style.mode": self.style_mode} if self.style else {}
        )
        rows: dict[str, Value] = {"data.mix": self.mix} if self.mix else {"data.raw": self.raw}
        kept: dict[str, Value] = {"data.format": self.format, "data.suffix": name}
        return {**rows, **kept, **fields, **style, **self.set}


class ExperimentGroup(BatchSection):
    """One entry under `experiments`: one run, or as many as its datasets and matrix make."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    dataset: str | list[str]
    config: str | None = None
    set: dict[str, Value] = {}
    matrix: dict[str, Annotated[list[Value], Field(min_length=1)]] = {}

    @property
    def datasets(self) -> list[str]:
        return [self.dataset] if isinstance(self.dataset, str) else self.dataset

    @property
    def size(self) -> int:
        """Return the number of runs it makes."""
        count = len(self.datasets)
        for values in self.matrix.values():
            count *= len(values)
        return count


class BatchFile(BatchSection):
    """The whole file."""

    sort_by: SortedBy = "val_loss"
    split: Literal["val", "test", "all", "none"] = "val"
    config: str = DEFAULT_CONFIG
    datasets: Annotated[dict[str, Dataset], Field(min_length=1)]
    experiments: Annotated[list[ExperimentGroup], Field(min_length=1)]

    @property
    def size(self) -> int:
        """Return the number of runs it makes."""
        return sum(group.size for group in self.experiments)


def write_template(path: Path) -> None:
    """A file to begin with."""
    metrics = ", ".join(get_args(SortedBy))
    write_text(path, TEMPLATE.format(file=path, metrics=metrics, config=DEFAULT_CONFIG))


def read(path: Path) -> BatchFile:
    """The file, checked as far as that needs no other file.

    Raises:
        ConfigError: every problem at once (78).
    """
    raw, marks = read_yaml(path)
    try:
        batch = BatchFile.model_validate(raw)
    except ValidationError as error:
        raise problems_in(
            path, [_describe(dict(problem), marks) for problem in error.errors()]
        ) from None
    found = list(_contradictions(batch))
    if found:
        raise problems_in(path, found)
    return batch


def _contradictions(batch: BatchFile) -> Iterator[str]:
    for name, dataset in batch.datasets.items():
        if not re.fullmatch(NAME_PATTERN, name):
            yield f"datasets.{name}: a dataset's name has lower-case letters, digits, `.`, `_` and `-`: it names folders"
        if dataset.raw and dataset.mix:
            yield f"datasets.{name} has raw and mix: both name its rows, keep one of them"
        if not dataset.raw and not dataset.mix:
            yield f"datasets.{name} names no rows: write raw, or mix with weights"
        if dataset.style is not None and not dataset.style.strip():
            yield f"datasets.{name}.style is empty: write a style prompt, or leave the key out"
    if batch.size > MOST:
        yield f"this file makes {batch.size:,} experiments, and {MOST:,} are the most: a smaller matrix, or several files"
    names = [group.name for group in batch.experiments]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"experiments: {name} is there {names.count(name)} times; every experiment needs a name of its own"
    for group in batch.experiments:
        if not group.datasets:
            yield f"experiments: {group.name} names no dataset"
        for dataset_name in group.datasets:
            if dataset_name not in batch.datasets:
                yield f"experiments: {group.name} names the dataset {dataset_name!r}; there are {', '.join(batch.datasets)}"
        for key in sorted({*group.set} & {*group.matrix}):
            yield f"experiments: {group.name} has {key} under set and under matrix"


def _describe(problem: Mapping[str, Any], marks: Marks) -> str:
    path = tuple(str(part) for part in problem["loc"])
    known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in marks), None)
    line = f"line {marks[known][0]}: " if known else ""
    return f"{line}{'.'.join(path)}: {in_words(problem)}"


def problems_in(path: Path, lines: Sequence[str]) -> ConfigError:
    """All problems of a batch file as one error."""
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    listing = "\n".join(f"  {line}" for line in [*lines[:20], *(["…"] if len(lines) > 20 else [])])
    return ConfigError(
        f"{count} in the batch file\n{listing}",
        where=str(path),
        todo="fix the file; nothing was started",
    )
