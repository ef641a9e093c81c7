"""backend.json, the stamp of an attempt: what trains, from what, with what.

And the resume guard that compares two of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sftplay.errors import NotFoundError, RefusedError, SftplayError
from sftplay.files import hash_file, write_json
from sftplay.untrusted import read_json

SCHEMA = 1
NEVER_REPAIRED = "a stamp is never repaired: start a new run with --run NAME, with --init-adapter to continue from its weights"
Verdict = Literal["same", "may change", "warn", "refuse"]


class Fallback(BaseModel):
    """Reason why a run that asked for one backend ended up in another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_attempt: str
    reason: str
    message: str


class Stamp(BaseModel):
    """backend.json. Written after the backend loaded, before the first optimizer step; never
    edited.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: int = SCHEMA
    backend: str
    requested_backend: str
    precision: str
    precision_reason: str
    tuning_method: str
    quantization: str | None
    attention: str
    device: str
    base_model: str
    revision: str | None
    weights_hash: str
    stack: str
    image_digest: str | None
    environment_hash: str | None
    lock_hash: str | None
    template_hash: str
    data_hash: str
    lora: dict[str, Any] | None
    init_adapter: str | None
    optimization: dict[str, Any]
    world_size: int
    versions: dict[str, str]
    created: str
    fallback: Fallback | None = None
    processes: int = 1
    nodes: int = 1
    sharding: str = "none"
    engine: dict[str, str] | None = None


# One row a field: what a difference means on --resume. What shapes the optimization is refused,
# what only surrounds it is
# warned about. Fields that are missing here (created, reasons) say nothing about sameness.
VERDICTS: Mapping[str, Verdict] = {
    "requested_backend": "refuse",
    "precision": "refuse",
    "tuning_method": "refuse",
    "quantization": "refuse",
    "base_model": "refuse",
    "revision": "refuse",
    "weights_hash": "refuse",
    "template_hash": "refuse",
    "data_hash": "refuse",
    "lora": "refuse",
    "init_adapter": "refuse",
    "optimization": "refuse",
    "world_size": "refuse",
    "sharding": "refuse",
    "processes": "warn",
    "nodes": "warn",
    "engine": "warn",
    "device": "warn",
    "stack": "warn",
    "attention": "warn",
    "image_digest": "warn",
    "environment_hash": "warn",
    "lock_hash": "warn",
    "versions": "warn",
}


@dataclass(frozen=True)
class Difference:
    """One field that is not the same, with what that means."""

    field: str
    stamped: Any
    now: Any
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.verdict:<7} {self.field}: {_shown(self.stamped)} → {_shown(self.now)}"


def compare(stamped: Stamp, now: Stamp) -> list[Difference]:
    """Field by field; for mappings (optimization, lora, versions) entry by entry. Pure."""
    found = []
    for field, verdict in VERDICTS.items():
        old, new = getattr(stamped, field), getattr(now, field)
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    found.append(Difference(f"{field}.{key}", old.get(key), new.get(key), verdict))
        elif old != new:
            found.append(Difference(field, old, new, verdict))
    return found


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Write atomically, with a hash over the content so that a later edit is seen."""
    from sftplay.files import hash_json

    value = stamp.model_dump(mode="json")
    write_json(path, {**value, "hash": hash_json(value)})


def read_stamp(path: Path) -> Stamp:
    """Read and verify a stamp.

    Raises:
        NotFoundError: no stamp (66). RefusedError: half-written, edited, of another schema, or not
            a stamp (76).
    """
    from sftplay.files import hash_json

    if not os.path.lexists(path):
        raise NotFoundError(
            "no stamp",
            where=str(path),
            todo="restore it; a run that never began is started without --resume",
        )
    todo = NEVER_REPAIRED
    if path.is_symlink() or not path.is_file():
        raise RefusedError("the stamp is not a regular file", where=str(path), todo=todo)
    try:
        value = read_json(path)
        version = value.get("schema_version")
    except Exception as error:
        why = error.what if isinstance(error, SftplayError) else error
        raise RefusedError(f"the stamp can't be read: {why}", where=str(path), todo=todo) from error
    if version != SCHEMA:
        raise RefusedError(
            f"the stamp has schema {json.dumps(version)[:40]}, this sftplay knows {SCHEMA}",
            where=str(path),
            todo="resume it with the sftplay that wrote it",
        )
    claimed = value.pop("hash", None)
    if claimed != hash_json(value):
        raise RefusedError(
            "the stamp was edited or torn: its hash does not fit", where=str(path), todo=todo
        )
    try:
        return Stamp.model_validate(value)
    except ValidationError as error:
        raise RefusedError(
            f"not a valid stamp ({error.error_count()} problems)", where=str(path), todo=todo
        ) from error


def surroundings() -> dict[str, str | None]:
    """Return the launcher's facts about the place: stack, image, environment, lock (the stage can't
    know them).
    """
    return {
        "stack": os.environ.get("SFTPLAY_STACK", "unknown"),
        "image_digest": os.environ.get("SFTPLAY_IMAGE_DIGEST") or None,
        "environment_hash": os.environ.get("SFTPLAY_ENVIRONMENT_HASH") or None,
        "lock_hash": os.environ.get("SFTPLAY_LOCK_HASH", _lock_of_the_image()) or None,
    }


def _lock_of_the_image() -> str | None:
    """An image holds its lock next to its environment: known without a launcher too (docker
    compose).
    """
    lock = Path(sys.prefix).parent / "requirements.lock"
    return hash_file(lock) if lock.is_file() else None


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "…"
