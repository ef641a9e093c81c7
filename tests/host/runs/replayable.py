"""A run folder with everything that a replay checks, and changes to it."""

from __future__ import annotations

from pathlib import Path

from sftplay.content import content_hash
from sftplay.files import hash_bytes, hash_file, write_json
from sftplay.fingerprint import fingerprint
from sftplay.host.runs import replay_checks
from sftplay.processor import cpu_has_bf16
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from tests.host.conftest import CHECKOUT
from tests.host.runfolders import write_run

TEMPLATE = b"{{ messages }}"
CONFIG = "model: {name: ./model}\nrun: {name: demo}\ntrain: {device: cpu, learning_rate: 0.001, seed: 42}\n"


def write_replayable() -> Run:
    """A run below the working directory, with its model, data, config and template."""
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
