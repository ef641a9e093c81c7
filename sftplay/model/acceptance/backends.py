"""Steps `bnb` and `unsloth`: QLoRA in a backend, its resume, adapter and merge; Unsloth next to
BitsAndBytes.
"""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path
from typing import Any

from sftplay import parity
from sftplay.acceptance import SPEED
from sftplay.files import hash_file
from sftplay.model.acceptance.context import Context, NotAsExpected, Unusable
from sftplay.runs import Run
from sftplay.untrusted import read_json

# A constant learning rate: a run that is stopped half-way and goes on is the same training.
STEADY = {"train__lr_scheduler": "constant", "train__warmup_steps": 0, "train__logging_steps": 1}
LOSS_AFTER_RESUME = 0.02  # relative, on a GPU, whose kernels add in any order


def run_bnb(context: Context) -> None:
    """Train with BitsAndBytes."""
    _run(context, "bnb")


def run_unsloth(context: Context) -> None:
    """Train with Unsloth where it can be imported, and compare the steps with BitsAndBytes'."""
    with context.row("import") as values:
        if importlib.util.find_spec("unsloth") is None:
            raise Unusable("Unsloth is not installed in this Python")
        if context.device == "cpu":
            raise Unusable("Unsloth requires a GPU")
        values["version"] = importlib.import_module("importlib.metadata").version("unsloth")
    if context.rows[-1].state != "passed":
        return
    _run(context, "unsloth")
    with context.row("parity with bnb") as values:
        ours, theirs = (parity.history(Run(f"{name}-whole")) for name in ("bnb", "unsloth"))
        values.update(
            {
                name: max(
                    parity.difference(getattr(a, name), getattr(b, name))
                    for a, b in zip(ours, theirs, strict=False)
                )
                for name in parity.LIMITS
            }
        )
        # later steps start from weights that differ already
        problems = parity.compare(ours[:10], theirs[:10])
        if problems:
            raise NotAsExpected(problems[0])
    with context.row("each method and precision next to plain PyTorch"):
        context.stage("numerics", settings={"backend": "unsloth"}).checked()


def _run(context: Context, backend: str) -> None:
    steps = context.amounts.steps
    whole = Run(f"{backend}-whole")
    with context.row(f"QLoRA, {steps} steps") as values:
        record = _train(context, backend, whole.name, steps)
        values.update(_figures(record))
        losses = [step.loss for step in parity.history(whole)]
        values["losses"] = [round(loss, 4) for loss in losses]
        _judge(record, losses, read_json(whole.stamp), backend, context.device)
    if context.rows[-1].state != "passed":
        return
    with context.row("stopped half-way and resumed") as values:
        _resume(context, backend, whole, values)
    with context.row("adapter by plain PEFT") as values:
        context.stage("eval", "--run", whole.name, "--portable").checked()
        found = read_json(whole.record)["portable"]
        values.update(
            {name: found[name] for name in ("loss_in_training", "loss_in_peft", "loss_of_base")}
        )
    with context.row("merge, with its proof") as values:
        ended = context.stage("merge", "--run", whole.name).checked()
        values["seconds"] = ended.seconds
        if not (whole.folder / "merged" / "config.json").is_file():
            raise NotAsExpected("no merged model")


def _train(context: Context, backend: str, run: str, steps: int, *words: str) -> dict[str, Any]:
    return context.train(
        run,
        *words,
        backend=backend,
        backend_fallback__enabled=False,
        train__method="qlora",
        train__max_steps=steps,
        train__save_steps=max(steps // 2, 1),
        **STEADY,
    )


def _figures(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "first_loss": record["first_loss"],
        "last_loss": record["last_loss"],
        SPEED: record["tokens_per_second"],
        "peak_mb": (record["peak_memory_bytes"] or 0) / 1e6,
        "attention": record["effective"]["attention"],
        "precision": record["effective"]["precision"].split(":")[0],
    }


def _judge(
    record: dict[str, Any], losses: list[float], stamp: dict[str, Any], backend: str, device: str
) -> None:
    wanted = (backend, device, None)
    found = (stamp["backend"], stamp["device"], stamp["fallback"])
    if found != wanted:
        raise NotAsExpected(f"(backend, device, fallback) is {found}, expected {wanted}")
    quarter = max(len(losses) // 4, 1)
    if not statistics.mean(losses[-quarter:]) < statistics.mean(losses[:quarter]):
        raise NotAsExpected("the loss did not fall")
    kernel = record["effective"]["attention"]
    if device == "cuda" and kernel not in ("sdpa/flash", "sdpa/cudnn"):
        raise NotAsExpected(f"attention ran as {kernel}: not on its fast path")


def _resume(context: Context, backend: str, whole: Run, values: dict[str, Any]) -> None:
    """Stop at half of the steps, go on, and compare with the run that was not stopped: on a CPU to
    the byte.
    """
    steps, parts = context.amounts.steps, Run(f"{backend}-parts")
    _train(context, backend, parts.name, max(steps // 2, 1))
    _train(context, backend, parts.name, steps, "--resume")
    pairs = list(zip(parity.history(whole), parity.history(parts), strict=True))
    apart = max(parity.difference(one.loss, other.loss) for one, other in pairs)
    name = Path("adapter") / "adapter_model.safetensors"
    same = hash_file(whole.folder / name) == hash_file(parts.folder / name)
    values.update({"loss_apart": apart, "adapter": "the same bytes" if same else "other bytes"})
    if not apart <= (0 if context.device == "cpu" else LOSS_AFTER_RESUME) or (
        context.device == "cpu" and not same
    ):
        raise NotAsExpected("the resumed training is another one")
