"""Stage `numerics`: each method and precision of this stack, two steps of a tiny model next to
plain PyTorch in fp32.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from sftplay import console
from sftplay.errors import GradientError
from sftplay.model.backends import load_backend
from sftplay.model.forward.collate import Collator, on_device
from sftplay.model.forward.head import has_plain_head
from sftplay.model.forward.loss import mean_target_loss, target_loss
from sftplay.model.lean import slim
from sftplay.model.numerics.plain import dense_weight
from sftplay.model.runtime.device import decide_device
from sftplay.model.runtime.precision import autocast
from sftplay.model.unsloth.probe_process import CONFIG, write_tiny_model
from sftplay.numerics import METHODS, MethodResult, Table, machine_name, shown, write_table
from sftplay.settings import Settings
from sftplay.stages import Job
from sftplay.stamp import surroundings

STEPS, RATE = 2, 1e-3
# Relative, by precision: loss, norm of the gradient, what was added to the weights. Adam divides
# each number of the gradient by its size, so a tiny one that rounding turns around moves its weight
# the other way: of the weights, only the most must agree.
LIMITS = {"fp32": (1e-4, 1e-3, 0.01), "bf16": (1e-2, 5e-2, 0.4), "fp16": (1e-2, 3e-2, 0.4)}


def run(job: Job) -> None:
    """Print the table and keep it in the cache.

    Raises:
        GradientError: a combination failed (82).
    """
    backend = "unsloth" if job.settings.backend == "unsloth" else "bnb"
    load_backend(backend)  # Unsloth has to be imported before transformers
    from sftplay.model.runtime.quiet import quiet_libraries

    quiet_libraries()
    device = decide_device(job.settings).value
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    place = surroundings()
    console.info(f"numerics of the {place['stack']} stack on {machine_name(gpu)}")
    with tempfile.TemporaryDirectory(prefix="sftplay-numerics-") as folder:
        write_tiny_model(Path(folder))
        rows = tuple(
            _row(backend, method, precision, device, Path(folder))
            for method in METHODS
            for precision in offered(device)
        )
    lock = place["lock_hash"] or place["environment_hash"]
    table = Table(str(place["stack"]), device, machine_name(gpu), lock, rows)
    for line in shown(table):
        console.result(line)
    path = write_table(table)
    if failing := table.failing():
        names = ", ".join(f"{row.method} in {row.precision}" for row in failing)
        raise GradientError(
            f"not right on this machine: {names}",
            where=str(path),
            todo="train with what passed: --set train.method=… --set train.precision=…; `auto` no longer chooses what failed",
        )
    console.success(f"{len(rows)} combinations agree with plain PyTorch: {path}")


def offered(device: str) -> tuple[str, ...]:
    """Return the precisions that a training on this device can ask for."""
    if device == "cpu":
        return ("fp32", "bf16")
    return (
        ("fp32", "bf16", "fp16")
        if torch.cuda.is_bf16_supported(including_emulation=False)
        else ("fp32", "fp16")
    )


@dataclass(frozen=True)
class Steps:
    """Losses and gradient norms of the steps, and the weights after them less those before, all in
    fp32.
    """

    losses: list[float]
    norms: list[float]
    added: list[torch.Tensor]


def _row(backend: str, method: str, precision: str, device: str, folder: Path) -> MethodResult:
    """Train both ways.

    Whatever is raised is this combination's failure, not the end of the table.
    """
    try:
        ours, reference = _both(backend, method, precision, device, folder)
    except Exception as error:  # noqa: BLE001 - the table says it
        return MethodResult(
            method,
            precision,
            error=f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}",
        )
    finally:
        gc.collect()
    loss = max(abs(a - b) / abs(b) for a, b in zip(ours.losses, reference.losses, strict=True))
    gradient = max(abs(a - b) / b for a, b in zip(ours.norms, reference.norms, strict=True))
    apart = torch.stack(
        [(a - b).norm() for a, b in zip(ours.added, reference.added, strict=True)]
    ).norm()
    weights = float(apart / torch.stack([added.norm() for added in reference.added]).norm())
    limits = LIMITS[precision]
    good = all(
        value <= limit for value, limit in zip((loss, gradient, weights), limits, strict=True)
    )
    return MethodResult(method, precision, loss, gradient, weights, good)


def _both(
    backend: str, method: str, precision: str, device: str, folder: Path
) -> tuple[Steps, Steps]:
    settings = Settings.model_validate(
        {
            "backend": backend,
            "model": {"max_length": 64},
            "train": {"method": "lora" if method == "dora" else method},
            "lora": {"r": 8, "dora": method == "dora"},
        }
    )
    module = load_backend(backend)
    torch.manual_seed(0)
    model = module.prepare(module.load(settings, folder, device, precision), settings, None)
    plain = _plain_copy(model, settings, folder, device, method)
    if backend == "bnb":
        slim(model, precision)
    return _train(model, device, precision), _train_plainly(plain, device)


def _plain_copy(model: Any, settings: Settings, folder: Path, device: str, method: str) -> Any:
    """Return plain transformers and PEFT in fp32, with the very numbers that our model starts from."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from sftplay.model.backends.bnb import lora_config

    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    plain = plain.to(torch.device(device))  # type: ignore[arg-type]
    if method != "full":
        plain = get_peft_model(plain, lora_config(settings))
    with torch.no_grad():
        for name, module in plain.named_modules():
            theirs = model.get_submodule(name) if name else model
            for part, parameter in module.named_parameters(recurse=False):
                source = getattr(theirs, part)
                dense = (
                    dense_weight(theirs)
                    if getattr(source, "quant_state", None) is not None
                    else source
                )
                parameter.copy_(dense.float())
    return plain


def _batches() -> Iterator[dict[str, Any]]:
    """Two rows of different lengths for each step, the second halves trained."""
    stream = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        rows = []
        for length in (48, 30):
            ids = torch.randint(3, CONFIG["vocab_size"], (length,), generator=stream).tolist()
            rows.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
        yield {"rows": rows}


def _trained(model: Any) -> list[torch.Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _norm(parameters: list[torch.Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))


def _train(model: Any, device: str, precision: str) -> Steps:
    """Train as a run does: its loss, its optimizer, an evaluation before each step."""
    parameters = _trained(model)
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16", init_scale=1024.0)
    losses, norms = [], []
    head = has_plain_head(model)
    for batch in _batches():
        with autocast(device, precision, model):
            mean_target_loss(model, batch["rows"], Collator(0), 2)
            model.train()
            total, count = target_loss(
                model, on_device(Collator(0)(batch["rows"]), model.device), plain_head=head
            )
        scaler.scale(total / count).backward()
        scaler.unscale_(optimizer)
        norms.append(_norm(parameters))
        losses.append(float(total.detach()) / count)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return Steps(losses, norms, [p.detach() - s for p, s in zip(parameters, start, strict=True)])


def _train_plainly(model: Any, device: str) -> Steps:
    """Train by nothing but PyTorch: each row alone, full logits, the unfused optimizer."""
    parameters = _trained(model)
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, foreach=False)
    losses, norms = [], []
    model.train()
    for batch in _batches():
        sums, count = [], 0
        for row in batch["rows"]:
            ids = torch.tensor([row["input_ids"]], device=device)
            labels = torch.tensor(row["labels"][1:], device=device)
            sums.append(
                cross_entropy(
                    model(input_ids=ids, use_cache=False).logits[0, :-1], labels, reduction="sum"
                )
            )
            count += int((labels != -100).sum())
        loss = torch.stack(sums).sum() / count
        loss.backward()
        norms.append(_norm(parameters))
        losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    return Steps(losses, norms, [p.detach() - s for p, s in zip(parameters, start, strict=True)])
