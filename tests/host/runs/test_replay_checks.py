"""Checks before a replay: what has changed, and what this machine can't repeat."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.config import load_config
from sftplay.content import content_hash
from sftplay.files import hash_bytes, hash_file, write_json
from sftplay.fingerprint import fingerprint
from sftplay.host.runs import replay_checks
from sftplay.host.system.machine import read_machine as look_at_machine
from sftplay.processor import cpu_has_bf16, processor_name
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from tests.host.conftest import CHECKOUT
from tests.host.runfolders import write_run

TEMPLATE = b"{{ messages }}"


CONFIG = "model: {name: ./model}\nrun: {name: demo}\ntrain: {device: cpu, learning_rate: 0.001, seed: 42}\n"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with everything that it stands on."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("model/model.safetensors").write_bytes(bytes(range(256)))
    tokenized = Path("data/tokenized")
    tokenized.mkdir(parents=True)
    for split in ("train", "val"):
        (tokenized / f"{split}.arrow").write_bytes(split.encode() * 100)
    files = {
        f"{split}.arrow": {"hash": content_hash(tokenized / f"{split}.arrow")}
        for split in ("train", "val")
    }
    facts = {
        "values_hash": {"train": "sha256:d"},
        "template_hash": hash_bytes(TEMPLATE),
        "files": files,
    }
    write_json(
        tokenized / "stamp.json", {"stage": "tokenize", "source": "", "section": {}, "facts": facts}
    )
    run = write_run(
        "demo", base_model="./model", weights_hash=fingerprint(Path("model")), template_hash=hash_bytes(TEMPLATE),
        lock_hash=hash_file(CHECKOUT / "images/cpu/requirements.lock"), lora=None, precision="bf16" if cpu_has_bf16() else "fp32",
    )  # fmt: skip
    run.config.write_text(CONFIG)
    run.template.write_bytes(TEMPLATE)
    return run


def flip(path: Path) -> None:
    """One changed byte."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed(run: Run) -> list[str]:
    return [one.what for one in replay_checks.changed(run, read_stamp(run.stamp))]


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
