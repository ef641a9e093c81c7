"""Test of Unsloth on this machine, in a process of its own, which may crash. The result is kept: a
test takes 20 s.

The process imports Unsloth and does one forward and backward pass of a tiny random model in the
run's precision.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftplay import __version__, console, isolated
from sftplay.errors import MachineError, SftplayError
from sftplay.files import hash_json, write_json
from sftplay.handover import Reason
from sftplay.model.runtime.device import nvidia_driver
from sftplay.model.runtime.versions import installed_versions
from sftplay.model.unsloth.failures import Failure, classify
from sftplay.places import cache_folder
from sftplay.stamp import surroundings
from sftplay.untrusted import read_json

LIMIT = 600.0  # seconds; Triton compiles its kernels at the first pass
PROBED_VERSIONS = (
    "unsloth",
    "unsloth_zoo",
    "torch",
    "transformers",
    "trl",
    "peft",
    "triton",
    "bitsandbytes",
)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


@dataclass(frozen=True)
class Verdict:
    """Result of the probe: it works (`reason` None, with the attention kernel that ran), or why
    not.
    """

    reason: Reason | None
    exception: str = ""
    message: str = ""
    attention: str = ""


def probe(precision: str, *, log: Path, limit: float = LIMIT) -> Verdict:
    """The verdict for this image, GPU, driver and precision; a good one is remembered.

    Args:
        log: receives what the process prints.

    Raises:
        MachineError: the process was killed, or failed in a way that is no fault of Unsloth's (69).
    """
    place = _remembered(precision)
    found = _recall(place)
    if found is not None:
        console.info(f"Unsloth was tried here before: it works (attention {found.attention})")
        return found
    console.info(
        "trying Unsloth: its import, and one pass of a tiny model (remembered for the next time)"
    )
    found = _judge(*_run(precision, log, limit), log=log, limit=limit)
    if found.reason is None:
        _remember(place, found)
    return found


def _run(precision: str, log: Path, limit: float) -> tuple[int | None, dict[str, Any]]:
    """Exit code (None: over the limit) and report of the process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sftplay-probe-") as folder, open(log, "ab") as output:
        report = Path(folder) / "report.json"
        argv = [*isolated.command("sftplay.model.unsloth.probe_process"), precision, str(report)]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            code: int | None = child.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            child.kill()
            child.wait()
        try:
            value = json.loads(report.read_bytes())
        except (OSError, ValueError):
            value = {}
        return code, value if isinstance(value, dict) else {}


def _judge(code: int | None, report: dict[str, Any], *, log: Path, limit: float) -> Verdict:
    """Pure but for the tail of the log, which a crash leaves as its only word."""
    if code is None:
        return Verdict(
            "unknown", "TimeoutError", f"the probe did not end within {limit:.0f} s: {_tail(log)}"
        )
    if code == 0 and report.get("attention"):
        return Verdict(None, attention=str(report["attention"]))
    if -code in _CRASHES:
        return Verdict("crash", signal.Signals(-code).name, f"the probe died of it: {_tail(log)}")
    if code < 0:
        raise MachineError(
            f"the probe of Unsloth was ended by {signal.Signals(-code).name}",
            where=str(log),
            todo="the machine may be out of memory; run the same command again",
        )
    failure = _failure(report)
    if failure is None:
        return Verdict(
            "crash", f"exit code {code}", f"the probe ended without a report: {_tail(log)}"
        )
    reason = classify(failure)
    if reason is None:
        raise MachineError(
            f"the probe of Unsloth failed: {failure.name.rpartition('.')[2]}: {failure.message[:300]}",
            where=str(log),
            todo="this is no fault of Unsloth's, so nothing was handed over; look at the file",
        )
    return Verdict(reason, failure.name, failure.message)


def _failure(report: dict[str, Any]) -> Failure | None:
    try:
        value = report["failure"]
        return Failure(
            tuple(value["types"]), value["message"], tuple(value["modules"]), value["errno"]
        )
    except (KeyError, TypeError):
        return None


def _tail(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-1500:].strip()
    except OSError:
        return ""


def _remembered(precision: str) -> Path:
    """One file for each combination of what the answer depends on."""
    import torch

    where = surroundings()
    gpu: Any = None
    if torch.cuda.is_available():
        gpu = [torch.cuda.get_device_name(), torch.cuda.get_device_capability(), nvidia_driver()]
    key = {
        "place": where["image_digest"] or where["environment_hash"] or sys.prefix,
        "versions": versions(),
        "sftplay": __version__,
        "gpu": gpu,
        "precision": precision,
    }
    return cache_folder() / "probes" / f"{hash_json(key)[7:23]}.json"


def versions() -> dict[str, str]:
    """Return the versions of the packages that the answer depends on."""
    return installed_versions(PROBED_VERSIONS)


def _recall(path: Path) -> Verdict | None:
    try:
        found = Verdict(**read_json(path))
    except (SftplayError, OSError, TypeError):
        return None
    return found if found.reason is None and found.attention else None


def _remember(path: Path, verdict: Verdict) -> None:
    """A cache that can't be written (read-only in a container) only costs time."""
    try:
        write_json(path, asdict(verdict))
    except (SftplayError, OSError) as problem:
        console.log(f"the probe's result is not remembered: {problem}")
