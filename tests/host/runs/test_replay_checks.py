"""Checks before a replay: what has changed, and what this machine can't repeat."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.config import load_config
from sftplay.host.runs import replay_checks
from sftplay.host.system.machine import read_machine as look_at_machine
from sftplay.processor import cpu_has_bf16, processor_name
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from tests.host.conftest import CHECKOUT
from tests.host.runs.replayable import changed, flip


def test_nothing_changed(demo: Run) -> None:
    assert changed(demo) == []


def test_other_rows_are_refused(demo: Run) -> None:
    path = Path("data/tokenized/stamp.json")
    value = json.loads(path.read_text())
    value["facts"]["values_hash"]["train"] = "sha256:other"
    path.write_text(json.dumps(value))
    assert changed(demo) == ["data/tokenized"]


def test_a_changed_lock_is_refused(
    demo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "images/cpu/requirements.lock"
    lock.parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / "images/cpu/requirements.lock", lock)
    monkeypatch.setattr(replay_checks, "CHECKOUT", tmp_path)
    assert changed(demo) == []
    flip(lock)
    assert changed(demo) == ["images/cpu/requirements.lock"]


def test_another_kind_of_machine_says_what_cannot_match(demo: Run) -> None:
    settings, facts = load_config(demo.config), look_at_machine()
    stamp = read_stamp(demo.stamp)
    assert replay_checks.unmatched(stamp, {}, facts, settings) == []
    on_gpu = stamp.model_copy(update={"device": "cuda", "precision": "bf16"})
    (device,) = replay_checks.unmatched(on_gpu, {}, facts, settings)
    assert device.what == "device" and "cuda then, cpu here" in device.how
    other = stamp.model_copy(update={"precision": "fp32" if cpu_has_bf16() else "bf16"})
    assert [one.what for one in replay_checks.unmatched(other, {}, facts, settings)] == [
        "precision"
    ]
    record = {"effective": {"processor": "Cray-1"}}
    (processor,) = replay_checks.unmatched(stamp, record, facts, settings)
    (code,) = replay_checks.unmatched(stamp, {"code_hash": "sha256:older"}, facts, settings)
    assert code.what == "code"
    assert "Cray-1 then" in processor.how and processor_name() in processor.how
