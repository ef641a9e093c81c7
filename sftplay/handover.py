"""handover.json: an Unsloth attempt asks its launcher to continue in the BnB stack. What the file may
hold, and how it is read.

The stage that writes it runs in a container that the launcher does not trust, so reading follows no
link, waits for no pipe, takes no more bytes than the cap, and accepts one exact schema with the
nonce that the launcher gave to this very start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Literal

from sftplay.errors import NotFoundError, ProtocolError, SftplayError
from sftplay.files import write_json
from sftplay.untrusted import read_bytes

SCHEMA = 1
FILE = "handover.json"
NONCE_VARIABLE = "SFTPLAY_NONCE"  # set by the launcher: what it wrote into launch/start-NNN.json
MAX_BYTES = 64 * 1024
MAX_MESSAGE = 4 * 1024  # bytes, as much as a container's termination message has
MAX_WORD = 200  # bytes of any other text

Phase = Literal["preflight", "probe", "load", "train"]
Reason = Literal[
    "no_gpu", "import", "gpu_arch", "unsupported_model", "no_layers", "kernel", "crash", "unknown"
]
REASONS: Mapping[str, str] = {
    "no_gpu": "this machine has no GPU that Unsloth can use",
    "import": "Unsloth, or a library of its stack, can't be imported",
    "gpu_arch": "Unsloth does not know this GPU",
    "unsupported_model": "Unsloth does not know this model",
    "no_layers": "Unsloth found nothing to train in this model",
    "kernel": "a compute kernel of Unsloth's stack does not run here",
    "crash": "native code of Unsloth's stack crashed",
    "unknown": "Unsloth failed in a way that sftplay does not know",
}

_REQUIRED = (
    "schema",
    "run",
    "attempt",
    "nonce",
    "source",
    "target",
    "phase",
    "reason",
    "step",
    "message",
)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)  # would move a terminal's cursor or text
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class HandOver:
    """A request: "this backend cannot run here, start the other one".

    Attributes:
        attempt: name of the attempt that ends with it, `01-unsloth`.
        nonce: of the start that wrote it; empty where no launcher gave one.
        phase: when it was found out; reason: a key of REASONS.
        exception: the exception's type with its module; message: what it said, at most MAX_MESSAGE
            bytes.
        step: optimizer steps that were done; 0 before training.
        device: the device as its driver names it; versions: package → version.
        created: UTC, ISO 8601.
    """

    run: str
    attempt: str
    nonce: str
    phase: Phase
    reason: Reason
    exception: str = ""
    message: str = ""
    step: int = 0
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    created: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )
    source: Literal["unsloth"] = "unsloth"
    target: Literal["bnb"] = "bnb"
    schema: Literal[1] = 1
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "strict": True,
        "extra": "forbid",
    }  # for the reader: no number for a text, no field of another's

    def __str__(self) -> str:
        said = " ".join(self.message.split())
        return f"{self.reason}: {REASONS[self.reason]}" + (f" ({said[:300]})" if said else "")


def write(attempt_folder: Path, handover: HandOver) -> Path:
    """Write the request whole or not at all; control characters are taken out, long texts are cut."""
    path = attempt_folder / FILE
    versions = {_word(name): _word(version) for name, version in handover.versions.items()}
    cleaned = replace(
        handover,
        message=_printable(handover.message, MAX_MESSAGE),
        exception=_word(handover.exception),
        device=_word(handover.device),
        versions=versions,
    )
    write_json(path, asdict(cleaned))
    return path


def read_untrusted(path: Path, *, run: str, attempt: str, nonce: str | None) -> HandOver | None:
    """The request in `attempts/<attempt>/handover.json`; None where there is no file.

    Args:
        nonce: that of the start which must have written it. None: not checked (a stage repeats what
            its launcher has accepted).

    Raises:
        ProtocolError: there is something else than a valid request of this very start (70).
    """
    content = _read_capped(path)
    if content is None:
        return None
    found = _parse(content, path)
    expected = {"run": run, "attempt": attempt} | ({} if nonce is None else {"nonce": nonce})
    for name, value in expected.items():
        if getattr(found, name) != value:
            raise _bad(path, f"it names another {name}")
    return found


def _read_capped(path: Path) -> bytes | None:
    """At most MAX_BYTES of a regular file; no link is followed on the way from the run's folder."""
    try:
        return read_bytes(path, MAX_BYTES)
    except NotFoundError:
        return None
    except SftplayError as error:
        raise _bad(path, error.what) from error


def _parse(content: bytes, path: Path) -> HandOver:
    from pydantic import (
        TypeAdapter,
        ValidationError,
    )  # takes 0.2 s: only where there is something to read

    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique_fields, parse_constant=_no_constant
        )
        if not isinstance(value, dict) or not set(_REQUIRED) <= set(value):
            raise ValueError("its fields are not those of a hand-over")
        found = TypeAdapter(HandOver).validate_json(content)
        _check_values(found)
        return found
    except ValidationError as error:
        first = error.errors()[0]
        raise _bad(
            path, f"{str(first['loc'][0])[:40] if first['loc'] else 'it'}: {first['msg'][:200]}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, str(error)[:200]) from error


def _check_values(found: HandOver) -> None:
    """Lengths, control characters, ranges: what the types leave open."""
    words = [found.run, found.attempt, found.nonce, found.exception, found.device, found.created]
    for word in [*words, *found.versions, *found.versions.values()]:
        if word != _word(word):
            raise ValueError("a text is too long, or holds control characters")
    if found.message != _printable(found.message, MAX_MESSAGE):
        raise ValueError("the message is too long, or holds control characters")
    if not 0 <= found.step < 2**53:
        raise ValueError("step is out of range")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a field stands there twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _bad(path: Path, why: str) -> ProtocolError:
    return ProtocolError(
        f"not a valid hand-over: {why}",
        where=str(path),
        todo="nothing was started on its word; look at the attempt's train.log, or start the run in BnB: inv train-bnb",
    )


def _printable(text: str, limit: int) -> str:
    clean = _CONTROL.sub(" ", _ANSI.sub("", text)).encode("utf-8", errors="replace")
    return clean[:limit].decode("utf-8", errors="ignore")


def _word(text: str) -> str:
    return " ".join(_printable(text, MAX_WORD).split())
