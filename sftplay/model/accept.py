"""Stage `accept`: prove a machine. Steps in processes of their own, most important first, until the
time is over; what was found is in the result file after every step.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sftplay import __version__, acceptance, console
from sftplay.acceptance import CONFIG, RESULT, WORK, Acceptance, AcceptanceRow, AcceptanceStep
from sftplay.config import dump_config
from sftplay.content import code_hash
from sftplay.errors import MachineError, SftplayError
from sftplay.files import write_json, write_text
from sftplay.model.acceptance import children
from sftplay.model.acceptance.context import AMOUNTS, MODEL
from sftplay.model.acceptance.inputs import SIZES, write_rows
from sftplay.model.acceptance.steps import STEPS, StepPlan
from sftplay.model.runtime.device import decide_device, nvidia_driver
from sftplay.processor import processor_flags, processor_name
from sftplay.settings import Settings
from sftplay.stages import Job
from sftplay.stamp import surroundings
from sftplay.untrusted import read_json
from sftplay.weights import read_tensors

_LEAST = 5.0  # seconds; a step that would have less is not begun


def run(job: Job) -> None:
    """Run the steps and write the result. Failed rows are in it; they do not end the stage."""
    device = decide_device(job.settings).value
    minutes = float(job.options.get("minutes") or 10)
    out = Path(job.options.get("out") or RESULT).absolute()
    until = time.monotonic() + 60 * minutes
    if device == "cpu":
        children.import_libraries()
    with _work_folder() as folder:
        model = _make_inputs(job.options.get("model"), device)
        result = _opening(device, minutes, model)
        acceptance.write(out, result)
        for step in STEPS:
            found = _run(step, device, folder, 60 * minutes, until)
            result = result.with_step(found)
            acceptance.write(out, result)
            mark = {"passed": console.success, "failed": console.error, "skipped": console.info}
            mark[found.state](f"{step.name}: {_summary(found)}")
    console.success(f"the result: {out}")


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Work in outputs/.accept/work: a project of its own, with a cache of its own. It stays for the
    host, which compares the forecast with it, and is made anew by the next start.
    """
    before, folder = Path.cwd(), WORK.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["SFTPLAY_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def _make_inputs(given: str | None, device: str) -> str:
    """Write model, rows and config. Returns what the model is."""
    amounts = AMOUNTS[device]
    if given:
        Path(MODEL).symlink_to((Path("../../..") / given).resolve())
        tensors = read_tensors(Path(MODEL)).values()
        weights = sum(math.prod(tensor.shape) for tensor in tensors)
        write_json(Path("model.json"), {"weights": weights})
        what = f"{Path(given).name}, {weights / 1e6:,.1f} million weights"
    else:
        words = ("-m", "sftplay.model.acceptance.inputs", device, MODEL)
        log = Path("inputs.log")
        code = children.wait(children.start(words, log, forked=device == "cpu", leader=False))
        if code:
            raise MachineError(f"no model could be made: {log.read_text().strip()[-300:]}")
        weights = read_json(Path("model.json"))["weights"]
        layers = SIZES[device].layers
        what = f"a Llama of {weights / 1e6:,.1f} million random weights, {layers} layers"
    write_rows(Path("raw/rows.jsonl"), amounts.rows, amounts.words)
    settings = Settings.model_validate(
        {
            "model": {"name": f"./{MODEL}", "max_length": 512},
            "data": {"raw": "raw/rows.jsonl", "val_share": 0.1, "test_share": 0},
            # random weights know nothing that a higher rate could spoil
            "train": {"device": device, "learning_rate": 2e-4 if given else 4e-3},
            "run": {"name": "accept"},
        }
    )
    write_text(Path(CONFIG), dump_config(settings))
    return what


def _opening(device: str, minutes: float, model: str) -> Acceptance:
    """The result before the first step."""
    import torch

    from sftplay.model.training.plan import stamped_versions

    facts: dict[str, Any] = {"torch_cuda": torch.version.cuda or "none"}
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    if device == "cuda":
        machine = torch.cuda.get_device_name()
        facts |= {
            "driver": nvidia_driver(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1),
            "gpus": torch.cuda.device_count(),
        }
    else:
        facts["instructions"] = " ".join(processor_flags())
    return Acceptance(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=device,
        machine=machine,
        stack=str(surroundings()["stack"]),
        minutes=minutes,
        environment={**surroundings(), "code_hash": code_hash()},
        facts=facts,
        versions={**stamped_versions(), "sftplay": __version__, "python": _python()},
        model=model,
    )


def _python() -> str:
    import platform

    return platform.python_version()


def _run(step: StepPlan, device: str, folder: Path, seconds: float, until: float) -> AcceptanceStep:
    """Run one step to its end or its limit. Whatever it noted until then is kept."""
    left = until - time.monotonic()
    if left < _LEAST:
        return AcceptanceStep(step.name, step.title, "skipped", "the time was over")
    limit = min(step.share * seconds, left)
    console.info(f"{step.name}: {step.title} (at most {limit:.0f} s)")
    out, began = folder / f"step-{step.name}.json", time.monotonic()
    words = ("-m", "sftplay.model.acceptance.process", step.name, device, str(out))
    pid = children.start(words, folder / f"{step.name}.log", forked=device == "cpu", leader=True)
    try:
        code = children.wait(pid, limit)
    except BaseException:  # stopped: nothing is left behind
        children.end(pid)
        raise
    if code is None:
        children.end(pid)
    rows = _noted(out)
    state, reason = _judge(code, rows, limit, folder / f"{step.name}.log")
    return AcceptanceStep(
        step.name, step.title, state, reason, round(time.monotonic() - began, 1), rows
    )


def _noted(out: Path) -> tuple[AcceptanceRow, ...]:
    try:
        value: Mapping[str, Any] = read_json(out)
    except SftplayError:
        return ()
    return tuple(AcceptanceRow(**row) for row in value["rows"])


def _judge(
    code: int | None, rows: tuple[AcceptanceRow, ...], limit: float, log: Path
) -> tuple[acceptance.State, str]:
    """Return a step's state from its end and its rows. Pure but for the log's last line."""
    if code is None:
        return "skipped", f"not finished after {limit:.0f} s; what was found until then is kept"
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "failed", f"ended with {code}: {lines[-1] if lines else 'no output'}"[:300]
    if any(row.state == "failed" for row in rows):
        return "failed", ""
    if all(row.state == "skipped" for row in rows):
        return "skipped", rows[0].reason if rows else "nothing to do here"
    return "passed", ""


def _summary(step: AcceptanceStep) -> str:
    counts = {
        state: sum(row.state == state for row in step.rows)
        for state in ("passed", "failed", "skipped")
    }
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{said or step.state}{f' ({step.reason})' if step.reason else ''}, {step.seconds:.0f} s"
