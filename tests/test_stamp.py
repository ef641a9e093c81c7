"""The stamp and the resume guard: every field, mutated, gives its verdict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import NotFoundError, RefusedError
from sftplay.files import hash_file, hash_json
from sftplay.stamp import VERDICTS, Stamp, compare, read_stamp, surroundings, write_stamp

STAMP = Stamp(
    backend="bnb", requested_backend="bnb", precision="bf16", precision_reason="x", tuning_method="qlora", quantization="nf4", attention="sdpa",
    device="cuda", base_model="m", revision="r", weights_hash="w", stack="bnb", image_digest="sha256:1", environment_hash=None, lock_hash="l",
    template_hash="t", data_hash="d", lora={"r": 16}, init_adapter=None, optimization={"learning_rate": 2e-4, "seed": 1}, world_size=1,
    versions={"torch": "2.13.0"}, created="now",
)  # fmt: skip

CHANGES: dict[str, tuple[Any, str]] = {
    "requested_backend": ("unsloth", "refuse"),
    "precision": ("fp32", "refuse"),
    "tuning_method": ("lora", "refuse"),
    "quantization": (None, "refuse"),
    "base_model": ("other", "refuse"),
    "revision": ("s", "refuse"),
    "weights_hash": ("v", "refuse"),
    "template_hash": ("u", "refuse"),
    "data_hash": ("e", "refuse"),
    "lora": ({"r": 8}, "refuse"),
    "init_adapter": ("a", "refuse"),
    "optimization": ({"learning_rate": 1e-4, "seed": 1}, "refuse"),
    "world_size": (2, "refuse"),
    "sharding": ("full", "refuse"),
    "processes": (2, "warn"),
    "nodes": (2, "warn"),
    "engine": ({"torch-elastic": "2.13.0", "backend": "gloo"}, "warn"),
    "device": ("cpu", "warn"),
    "stack": ("cpu", "warn"),
    "attention": ("eager", "warn"),
    "image_digest": ("sha256:2", "warn"),
    "environment_hash": ("sha256:3", "warn"),
    "lock_hash": ("k", "warn"),
    "versions": ({"torch": "2.14.0"}, "warn"),
}
SAY_NOTHING = {"schema_version", "backend", "precision_reason", "created", "fallback"}


def test_the_table_covers_every_field() -> None:
    assert set(Stamp.model_fields) - SAY_NOTHING == set(VERDICTS) == set(CHANGES)


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_each_field_gives_its_verdict(field: str) -> None:
    value, verdict = CHANGES[field]
    (difference,) = compare(STAMP, STAMP.model_copy(update={field: value}))
    assert difference.field.split(".")[0] == field
    assert difference.verdict == verdict


def test_what_may_change_changes_nothing() -> None:
    assert (
        compare(STAMP, STAMP.model_copy(update={"created": "later", "precision_reason": "y"})) == []
    )


def test_round_trip(tmp_path: Path) -> None:
    write_stamp(tmp_path / "backend.json", STAMP)
    assert read_stamp(tmp_path / "backend.json") == STAMP


@pytest.mark.parametrize(
    "damage",
    [
        "torn",
        "empty",
        "edited",
        "newer",
        "no hash",
        "list",
        "link",
        "pipe",
        "deep",
        "other types",
        "a field more",
    ],
)
def test_a_damaged_stamp_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "backend.json"
    write_stamp(path, STAMP)
    value = json.loads(path.read_text())
    match damage:
        case "torn":
            path.write_text(path.read_text()[:80])
        case "empty":
            path.write_text("")
        case "edited":
            path.write_text(json.dumps({**value, "precision": "fp32"}))
        case "newer":
            path.write_text(json.dumps({**value, "schema_version": 9}))
        case "no hash":
            del value["hash"]
            path.write_text(json.dumps(value))
        case "list":
            path.write_text("[]")
        case "link":
            path.rename(tmp_path / "real.json")
            path.symlink_to(tmp_path / "real.json")
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case "deep":
            path.write_text("[" * 100_000)
        case "other types":
            path.write_text(_signed({**value, "world_size": "two", "lora": "x"}))
        case "a field more":
            path.write_text(_signed({**value, "learning": 1}))
    with pytest.raises(RefusedError) as caught:
        read_stamp(path)
    assert caught.value.todo and caught.value.where == str(path)


def test_a_stamp_that_never_was_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_stamp(tmp_path / "backend.json")


def _signed(value: dict[str, Any]) -> str:
    """As somebody would forge it: with a hash that fits."""
    del value["hash"]
    return json.dumps({**value, "hash": hash_json(value)})


@pytest.mark.parametrize("field", sorted(Stamp.model_fields))
def test_an_edit_of_any_field_is_seen(tmp_path: Path, field: str) -> None:
    path = tmp_path / "backend.json"
    write_stamp(path, STAMP)
    value = json.loads(path.read_text())
    other = 2 if isinstance(value[field], int) else "edited"
    path.write_text(json.dumps({**value, field: other}))
    with pytest.raises(RefusedError):
        read_stamp(path)


def test_an_image_knows_its_lock_without_a_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SFTPLAY_LOCK_HASH", raising=False)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    assert surroundings()["lock_hash"] is None
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    assert surroundings()["lock_hash"] == hash_file(tmp_path / "requirements.lock")
