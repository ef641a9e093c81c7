"""Inputs of a forecast, gathered from stamps, headers, past runs and the machine. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil

from sftplay.base_model import check_base_model
from sftplay.errors import NotFoundError, SftplayError
from sftplay.host.estimate import forecast
from sftplay.host.estimate.forecast import Estimate, TrainingDevice, TrainingRows
from sftplay.host.estimate.model_shape import ModelShape, guess_shape, read_shape
from sftplay.host.estimate.workload import find_rows
from sftplay.host.select import choose
from sftplay.host.system.machine import Machine
from sftplay.host.system.nvidia import Gpu
from sftplay.input_limits import check_template
from sftplay.places import OUTPUTS, find_model, is_local_model
from sftplay.processor import cpu_has_bf16
from sftplay.settings import Settings
from sftplay.tuning_method import with_method
from sftplay.untrusted import read_json

T = TypeVar("T")


@dataclass(frozen=True)
class EstimateInputs:
    """Everything a forecast needs; None where it could not be found out."""

    settings: Settings
    device: TrainingDevice | None = None
    rows: TrainingRows | None = None
    shape: ModelShape | None = None
    measured: float | None = None  # tokens a second of a like run that finished here
    unusable: bool = False  # the model is there, and can't be trained
    ranks: int = 1  # processes of this machine that train together

    @property
    def speedup(self) -> int:
        """Devices that compute at the same time: ranks on a CPU share its cores."""
        return self.ranks if self.device and self.device.kind == "cuda" else 1

    @property
    def sharded(self) -> bool:
        """True if weights and optimizer are divided among the ranks."""
        return self.ranks > 1 and self.settings.train.shard == "full"

    def duration(self) -> Estimate | None:
        """Seconds of training, from a run of one's own where there is one."""
        if self.device is None or self.rows is None:
            return None
        if self.measured is None:
            return (
                forecast.duration(self.settings, self.shape, self.rows, self.device, self.speedup)
                if self.shape
                else None
            )
        train = self.settings.train
        batch = train.rows_per_step
        tokens = forecast.steps(train, self.rows.count) * batch * self.rows.tokens
        return Estimate(forecast.START + tokens / self.measured, 1.3)


def gather(
    settings: Settings, facts: Machine, cards: Sequence[Gpu], problems: list[SftplayError]
) -> EstimateInputs:
    """Gather what the forecast needs from stamps, headers and past runs. Problems are added to
    `problems`.

    Args:
        cards: the GPUs that answered; none of them is asked here.
    """
    kind = or_problem(lambda: choose.choose_device(settings, facts).value, problems)
    settings = with_method(settings, kind or "cuda")
    capability = cards[0].capability[0] if cards else 0
    device = TrainingDevice(kind, facts.cores, capability, _width(settings, kind)) if kind else None
    rows = or_problem(lambda: find_rows(settings), problems)
    before = len(problems)
    shape = or_problem(lambda: find_shape(settings), problems)
    unusable = len(problems) > before
    if not unusable:
        or_problem(lambda: _check_template(settings), problems)
    measured = None if unusable else _measured(settings, kind or "cpu")
    alone = settings.backend == "unsloth" or kind == "cpu"
    ranks = settings.train.ranks_on(1 if alone else len(cards))
    return EstimateInputs(settings, device, rows, shape, measured, unusable, ranks)


def cpu_training_time(settings: Settings, facts: Machine) -> Estimate | None:
    """Seconds that training will take on this machine's CPU; None where that can't be told. For the
    launcher's question.
    """
    on_cpu = settings.train.model_copy(update={"device": "cpu"})
    return gather(settings.model_copy(update={"train": on_cpu}), facts, [], []).duration()


def find_shape(settings: Settings) -> ModelShape | None:
    """The model's sizes, from its files, else guessed from its name; None where the name says
    nothing.

    Raises:
        NotFoundError, StorageError, ConfigError: the model can't be trained (66, 74, 78).
    """
    try:
        folder = find_model(settings)
    except NotFoundError:
        if is_local_model(settings.model.name):
            raise
        return guess_shape(settings.model.name)
    check_base_model(folder, settings.model)
    return read_shape(folder, settings.lora.target_modules)


def _check_template(settings: Settings) -> None:
    """Compare the chat template's tokens with the model's embedding, where the model is here.

    Raises:
        DataError: tokens that it has no weights for (65).
    """
    try:
        folder = find_model(settings)
    except NotFoundError:
        return
    check_template(folder)


def _measured(settings: Settings, device: str) -> float | None:
    """Tokens a second of the newest finished run here with the same model, method and kind of
    device.
    """
    found: list[tuple[str, float]] = []
    for record in OUTPUTS.glob("*/run.json"):
        try:
            done, stamp = read_json(record), read_json(record.with_name("backend.json"))
            same = (stamp["base_model"], stamp["tuning_method"], stamp["device"]) == (
                settings.model.name,
                settings.train.method,
                device,
            )
            if same and done["state"] == "finished" and done["tokens_per_second"] > 0:
                found.append((stamp["created"], float(done["tokens_per_second"])))
        except (SftplayError, KeyError, TypeError, ValueError):
            continue  # a damaged run says nothing about speed; `inv runs` is where it shows
    return max(found)[1] if found else None


def _width(settings: Settings, kind: str) -> int:
    """Bytes a number in the precision that the run will have: `auto` is 2 on a GPU, and for
    adapters where the processor knows bf16.
    """
    asked = settings.train.asked_precision
    if asked != "auto":
        return 4 if asked == "fp32" else 2
    return 2 if kind == "cuda" or (cpu_has_bf16() and settings.train.method != "full") else 4


def free_memory(machine: Machine) -> int:
    """Return the bytes that a new process may use now: what is available, at most what this process
    may have.
    """
    return min(int(psutil.virtual_memory().available), machine.memory)


def or_problem(find: Callable[[], T], problems: list[SftplayError]) -> T | None:
    """The value, or None with the problem noted."""
    try:
        return find()
    except SftplayError as problem:
        problems.append(problem)
        return None
