"""Step `numerics`: qlora, lora and full training in each precision, with and without checkpointing
and packing, next to plain PyTorch (`reference.py`).
"""

from __future__ import annotations

import gc
import itertools
import json
import random
from pathlib import Path
from typing import Any

import torch

from sftplay.model.acceptance.context import Context, NotAsExpected
from sftplay.model.backends import load_backend
from sftplay.model.forward.collate import Collator, Packer, on_device
from sftplay.model.forward.head import has_plain_head
from sftplay.model.forward.loss import target_loss
from sftplay.model.forward.packing import keep_rows_apart
from sftplay.model.lean import slim
from sftplay.model.numerics.check import offered
from sftplay.model.runtime.precision import autocast
from sftplay.settings import Settings
from sftplay.untrusted import read_json

METHODS = ("qlora", "lora", "full")
STEPS, RATE, RANK, ROWS = 2, 1e-3, 4, 6
# Relative: a loss, the norm of a gradient, the first gradient. fp32: rounding; 16 bits: 8 (bf16) or
# 11 (fp16) bits of mantissa through two layers.
LIMITS = {"fp32": (1e-4, 1e-3, 1e-2), "bf16": (1e-2, 5e-2, 0.25), "fp16": (1e-2, 3e-2, 0.15)}


def run(context: Context) -> None:
    """Train the reference in a process of its own, then each combination here."""
    folder, adapter, plan = Path("small"), Path("adapter"), Path("reference-plan.json")
    with context.row("reference: plain PyTorch, transformers, PEFT"):
        words = ("-m", "sftplay.model.acceptance.inputs", "small", str(folder))
        context.program(*words).checked()
        precisions = offered(context.device)
        rows = _rows()
        value = {
            "model": str(folder), "adapter": str(adapter), "rank": RANK, "methods": METHODS, "precisions": precisions,
            "device": context.device, "steps": STEPS, "rate": RATE, "rows": rows,
        }  # fmt: skip
        plan.write_text(json.dumps(value), encoding="utf-8")
        context.script("reference", str(plan), "reference.json").checked()
    if context.rows[-1].state != "passed":
        return
    expected = read_json(Path("reference.json"))
    ways = itertools.product(METHODS, precisions, (False, True), (False, True))
    for method, precision, checkpointing, packing in ways:
        extras = [*(["checkpointing"] if checkpointing else []), *(["packing"] if packing else [])]
        with context.row(", ".join((method, precision, *extras))) as values:
            found = _train(context.device, method, precision, checkpointing, packing, rows)
            first = _first_gradient(adapter, method, precision)
            _compare(
                found, {**expected[f"{method} {precision}"], "first": first}, precision, values
            )
        gc.collect()


def _rows() -> list[dict[str, list[int]]]:
    """Rows of different lengths, their second halves trained."""
    chance = random.Random(3)  # noqa: S311 - rows, no secrets
    made = []
    for _ in range(ROWS):
        ids = [chance.randrange(3, 400) for _ in range(chance.randint(12, 48))]
        made.append({"input_ids": ids, "labels": [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]})
    return made


def _train(
    device: str, method: str, precision: str, checkpointing: bool, packing: bool, rows: list[Any]
) -> dict[str, Any]:
    """Train as a run does: its loading, replacements, collator and loss."""
    settings = Settings.model_validate(
        {
            "train": {"method": method, "packing": packing},
            "lora": {"r": RANK, "alpha": 2 * RANK},
        }
    )
    backend = load_backend("bnb")
    adapter = None if method == "full" else Path("adapter")
    model = backend.prepare(
        backend.load(settings, Path("small"), device, precision), settings, adapter
    )
    slim(model, precision)
    if packing:
        keep_rows_apart(model, rows[:2])
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    collate = Packer() if packing else Collator(0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=0.0)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16", init_scale=1024.0)
    losses: list[float] = []
    norms: list[float] = []
    first: dict[str, torch.Tensor] = {}
    model.train()
    for _ in range(STEPS):
        with autocast(device, precision, model):
            batch = on_device(collate(rows), model.device)
            total, count = target_loss(model, batch, plain_head=has_plain_head(model))
        scaler.scale(total / count).backward()
        scaler.unscale_(optimizer)
        grads = {name: p.grad for name, p in trained.items() if p.grad is not None}
        first = first or {name: grad.detach().float().cpu().clone() for name, grad in grads.items()}
        losses.append(float(total.detach()) / count)
        norms.append(float(torch.nn.utils.get_total_norm(list(grads.values()))))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return {"losses": losses, "norms": norms, "first": first}


def _first_gradient(adapter: Path, method: str, precision: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(f"{adapter}-{method}-{precision}.safetensors"))


def _compare(
    found: dict[str, Any], expected: dict[str, Any], precision: str, values: dict[str, Any]
) -> None:
    """Fill in the differences; raise NotAsExpected where one is beyond its limit."""
    loss, norm = (
        max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(found[key], expected[key], strict=True))
        for key in ("losses", "norms")
    )
    ours, theirs = found["first"], expected["first"]
    if set(ours) != set(theirs):
        raise NotAsExpected(f"other trained weights: {sorted({*ours} ^ {*theirs})[:3]}")
    apart = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs)
    whole = sum(float(gradient.square().sum()) for gradient in theirs.values())
    gradient = (apart / whole) ** 0.5
    values.update({"loss": loss, "norm": norm, "gradient": gradient})
    for name, value, limit in zip(values, (loss, norm, gradient), LIMITS[precision], strict=True):
        if not value <= limit:
            raise NotAsExpected(f"{name} {value:.2g} apart (allowed {limit:.2g})")
