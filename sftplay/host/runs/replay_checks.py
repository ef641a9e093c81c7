"""Checks before a replay: inputs of the run that have changed, and those not available on this
machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.config import load_config
from sftplay.content import code_hash, content_hash
from sftplay.errors import NotFoundError, SftplayError
from sftplay.files import hash_bytes, hash_file
from sftplay.fingerprint import fingerprint
from sftplay.freshness import STAMP, read_stamp
from sftplay.host.local import active, environments
from sftplay.host.protocol import records
from sftplay.host.select import choose
from sftplay.host.system import machine
from sftplay.host.system.checkout import CHECKOUT
from sftplay.places import data_folder, find_model
from sftplay.processor import cpu_has_bf16, processor_name
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stamp import Stamp
from sftplay.tuning_method import choose_method
from sftplay.untrusted import read_bytes

_SPLITS = ("train", "val")  # what a training reads
_SHOWN = 6  # packages that differ


@dataclass(frozen=True)
class RecordedDifference:
    """Something that is not what it was: what, and how it is known."""

    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


def changed(run: Run, stamp: Stamp) -> list[RecordedDifference]:
    """Everything that differs from what the run recorded: config, template, data, model, lock."""
    try:
        settings = load_config(run.config)
    except SftplayError as error:
        return [RecordedDifference(str(run.config), error.what)]
    found = [*_config(run, stamp, settings), *_template(run, stamp), *_data(stamp, settings)]
    return [*found, *_model(stamp, settings), *_lock(stamp)]


def _config(run: Run, stamp: Stamp, settings: Settings) -> Iterator[RecordedDifference]:
    now: dict[str, Any] = settings.train.model_dump(mode="json") | {
        "max_length": settings.model.max_length
    }
    pairs = [(key, value, now.get(key)) for key, value in stamp.optimization.items()]
    pairs += [
        ("method", stamp.tuning_method, choose_method(settings, stamp.device).value),
        ("model.name", stamp.base_model, settings.model.name),
    ]
    pairs += [("backend", stamp.requested_backend, settings.backend)]
    if stamp.lora is not None:
        lora = settings.lora.model_dump(mode="json")
        pairs += [(f"lora.{key}", value, lora.get(key)) for key, value in stamp.lora.items()]
    for key, before, value in pairs:
        if before != value:
            yield RecordedDifference(
                f"{run.config}, {key}", f"{before} when it was trained, now {value}"
            )


def _template(run: Run, stamp: Stamp) -> Iterator[RecordedDifference]:
    try:
        now = hash_bytes(read_bytes(run.template))
    except SftplayError as error:
        yield RecordedDifference(str(run.template), error.what)
        return
    if now != stamp.template_hash:
        yield RecordedDifference(str(run.template), "its hash is another one")


def _data(stamp: Stamp, settings: Settings) -> Iterator[RecordedDifference]:
    folder = data_folder("tokenized", settings)
    try:
        made = read_stamp(folder)
        assert made is not None
        facts = made.facts
        rows, template = facts["values_hash"]["train"], facts["template_hash"]
        files = {split: facts["files"][f"{split}.arrow"]["hash"] for split in _SPLITS}
    except (SftplayError, AssertionError, KeyError, TypeError):
        yield RecordedDifference(str(folder), "the tokenized rows are not there any more")
        return
    if template != stamp.template_hash:
        yield RecordedDifference(str(folder), "its rows were made with another chat template")
    if rows != stamp.data_hash:
        yield RecordedDifference(str(folder), "other rows than the run was trained on")
    for split, written in files.items():
        path = folder / f"{split}.arrow"
        if not path.is_file():
            yield RecordedDifference(str(path), "gone")
        elif content_hash(path) != written:
            yield RecordedDifference(str(path), f"not what its {STAMP} recorded")


def _model(stamp: Stamp, settings: Settings) -> Iterator[RecordedDifference]:
    try:
        now = fingerprint(find_model(settings))
    except NotFoundError as error:
        yield RecordedDifference(f"the model {stamp.base_model}", error.what)
        return
    if now != stamp.weights_hash:
        yield RecordedDifference(
            f"the model {stamp.base_model}", "other weights than it was trained on"
        )


def _lock(stamp: Stamp) -> Iterator[RecordedDifference]:
    lock = lock_of(stamp.stack)
    if stamp.lock_hash is None or lock is None:
        return
    if not (CHECKOUT / lock).is_file():
        yield RecordedDifference(str(lock), "gone")
    elif hash_file(CHECKOUT / lock) != stamp.lock_hash:
        yield RecordedDifference(str(lock), "other packages than it was trained with")


def lock_of(stack: str) -> Path | None:
    """The lock of a stack, relative to the checkout; None for a stack that is not ours."""
    known = environments.STACKS.get(stack)
    return Path(known.lock) if known else None


def other_packages(run: Run, stamp: Stamp) -> Iterator[RecordedDifference]:
    """Compare the packages of the user's own Python, where the run was trained in one."""
    if stamp.stack != active.NAME:
        return
    try:
        made, _ = active.look(active.find(active.other(stamp.backend)), stamp.backend)
    except SftplayError as error:
        yield RecordedDifference("packages", error.what)
        return
    if made.environment_hash == stamp.environment_hash:
        return
    then = _packages_then(run)
    apart = sorted({*then} ^ {*made.freeze}) if then else []
    shown = "; ".join(f"{one} {'then' if one in then else 'now'}" for one in apart[:_SHOWN]) + (
        f"; {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
    )
    yield RecordedDifference(
        "packages", f"{made.python} has not those of the training: {shown or 'another freeze'}"
    )


def _packages_then(run: Run) -> list[str]:
    """Return what the newest start's Python had; empty where that is not known."""
    start = records.newest(run.launch)
    path = records.packages_file(run.launch, start.number) if start else None
    return path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []


def unmatched(
    stamp: Stamp, record: dict[str, Any], facts: machine.Machine, settings: Settings
) -> list[RecordedDifference]:
    """Find what this machine can't repeat: another kind of device, precision or processor. Pure
    except for the look at it.
    """
    found = []
    try:
        device = choose.choose_device(settings, facts).value
    except SftplayError as error:
        return [RecordedDifference("device", f"{stamp.device} then; now {error.what}")]
    if device != stamp.device:
        found.append(
            RecordedDifference(
                "device",
                f"{stamp.device} then, {device} here: other kernels, other rounding, other losses",
            )
        )
    asked = settings.train.asked_precision
    if asked == "auto" and stamp.device == device == "cpu":
        here = "bf16" if cpu_has_bf16() else "fp32"
        if here != stamp.precision:
            found.append(
                RecordedDifference(
                    "precision", f"{stamp.precision} then, this processor has {here}"
                )
            )
    if record.get("code_hash") not in (None, code_hash()):
        found.append(
            RecordedDifference(
                "code", "sftplay's own stages are another version: sums may come out differently"
            )
        )
    effective = record.get("effective")
    there = effective.get("processor") if isinstance(effective, dict) else None
    if there and there != processor_name() and device == "cpu":
        found.append(
            RecordedDifference(
                "processor", f"{there} then, {processor_name()} here: sums may come out differently"
            )
        )
    return found
