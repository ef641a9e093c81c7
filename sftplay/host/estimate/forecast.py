"""Forecast of a training: memory, disk, steps, time. Pure functions; each figure comes with its
uncertainty.

The constants were fitted to runs of SmolLM2-135M (LoRA, QLoRA and full, 60 to 230 tokens a row, two
cores); a finished run of one's own on the same machine is a far better measure, and `estimate` uses
it where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sftplay.host.estimate.model_shape import ModelShape
from sftplay.settings import Settings, TrainSettings, fitting_counts

GIB = 1 << 30
# bytes a weight: 4 bits and 0.127 bits of doubly quantized scales (arXiv:2305.14314, section 3)
NF4 = 0.516
# bytes a trained weight: fp32 weight and gradient, two Adam moments (arXiv:1910.02054, section 3.1)
ADAM = 16
GRADIENT = 4  # bytes a trained weight: DDP's buckets
SAVED = 12  # bytes a trained weight in a checkpoint: the weight and two moments
RUNTIME = {
    "cpu": 1.15 * GIB,
    "cuda": 0.8 * GIB,
}  # the libraries in memory; the CUDA context and its workspaces
CPU_FLOPS = 25e9  # fp32, a core of a small cloud machine, in a training step
GPU_FLOPS = {
    7: 20e12,
    8: 60e12,
    9: 200e12,
    10: 300e12,
    12: 100e12,
}  # 16-bit, by compute capability, about 30 % of the peak
STEP_ON_GPU = 0.15  # seconds a step takes on a GPU however small the model: launching kernels
START = 40.0  # seconds: imports and loading


@dataclass(frozen=True)
class Estimate:
    """An estimate: the true value lies between likely / factor and likely · factor, as far as we
    know.
    """

    likely: float
    factor: float

    @property
    def low(self) -> float:
        return self.likely / self.factor

    @property
    def high(self) -> float:
        return self.likely * self.factor


@dataclass(frozen=True)
class TrainingRows:
    """The training split: rows, and tokens a row (all, trained, the longest).

    `source` says where this was read.
    """

    count: int
    tokens: float
    trained: float
    longest: int
    source: str
    exact: bool


@dataclass(frozen=True)
class TrainingDevice:
    """The device of a training: `cpu` with its cores, or `cuda` with its capability; bytes a weight
    in the run's precision.
    """

    kind: str
    cores: int = 1
    capability: int = 0
    width: int = 4


def steps(train: TrainSettings, rows: int) -> int:
    """Optimizer steps of the whole run, as the trainer counts them."""
    if train.max_steps:
        return train.max_steps
    return math.ceil(train.epochs * max(math.ceil(rows / train.rows_per_step), 1))


def trained_weights(settings: Settings, shape: ModelShape) -> int:
    """Weights that are trained: all of them, or rank · (inputs + outputs) of every adapted layer
    (arXiv:2106.09685).
    """
    return (
        shape.weights if settings.train.method == "full" else settings.lora.r * shape.adapted_ends
    )


def memory(
    settings: Settings,
    shape: ModelShape,
    rows: TrainingRows,
    device: TrainingDevice,
    ranks: int = 1,
    *,
    sharded: bool = False,
) -> Estimate:
    """Peak bytes on one device while training.

    Weights and optimizer, activations (every linear layer's input and output for every token of a
    batch: for the usual block this is the 34 · hidden bytes of arXiv:2205.05198, equation 1,
    without the attention matrix, which sdpa does not keep), and the logits of the trained tokens in
    three copies. Of several ranks each computes its share of a step's rows, and DDP keeps another
    copy of the gradients (pytorch.org/docs/stable/notes/ddp.html); divided among the ranks, one
    layer at a time is whole, and the weights are whole once, while they are loaded.

    Args:
        ranks: devices that train together. sharded: weights and optimizer are divided among them.
    """
    train = settings.train
    base = {
        "full": 0.0,
        "lora": shape.weights * float(device.width),
        "qlora": shape.linear * NF4 + (shape.weights - shape.linear) * device.width,
    }[train.method]
    kept = base + trained_weights(settings, shape) * ADAM
    whole = base or 4.0 * shape.weights  # fp32 where every weight is trained
    if sharded:
        kept = kept / ranks + 2 * shape.linear / shape.layers * device.width
    elif ranks > 1:
        kept += trained_weights(settings, shape) * GRADIENT
    at_once = max(min(train.guessed_rows, train.rows_per_step // ranks), 1)
    tokens = at_once * min(rows.longest, settings.model.max_length)
    per_token = (
        shape.linear_ends * device.width * 1.5
    )  # half as much again: norms, rotations, the adapter's fp32 copies
    if checkpoints_activations(train, device.kind):
        per_token = per_token / shape.layers + shape.layers * shape.hidden * device.width
    logits = at_once * max(rows.trained, 1) * shape.vocab * 12
    needed = kept + tokens * per_token + logits
    return Estimate(
        RUNTIME[device.kind] + (max(needed, whole) if sharded else needed),
        1.4 if shape.exact and rows.exact else 2.0,
    )


def gpus_needed(
    settings: Settings,
    shape: ModelShape,
    rows: TrainingRows,
    device: TrainingDevice,
    free: int,
    *,
    sharded: bool,
) -> int | None:
    """Return the least number of GPUs on which the training likely fits; None: no number would do.

    Args:
        free: bytes on each of them.
    """
    for count in fitting_counts(settings.train.rows_per_step):
        if sharded and count == 1:
            continue
        if memory(settings, shape, rows, device, count, sharded=sharded).likely <= free:
            return count
    return None


def checkpoints_activations(train: TrainSettings, device: str) -> bool:
    """Return whether activations are computed twice to save memory."""
    return (
        device == "cuda" if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
    )


def disk(settings: Settings, shape: ModelShape, rows: TrainingRows) -> Estimate:
    """Bytes that tokenized rows and the run will take: kept checkpoints, the best one, one in
    writing, the result.
    """
    checkpoints = settings.train.save_total_limit + 2
    weights = trained_weights(settings, shape)
    return Estimate(rows.count * rows.tokens * 8 + weights * (SAVED * checkpoints + 4) + 20e6, 1.3)


def duration(
    settings: Settings,
    shape: ModelShape,
    rows: TrainingRows,
    device: TrainingDevice,
    ranks: int = 1,
) -> Estimate:
    """Seconds from start to end.

    Forward and backward take 2 operations a weight and token each, plus 2 where the weights
    themselves get a gradient and 2 where activations are computed twice (arXiv:2001.08361, section
    2.1); the output layer works at trained tokens only.
    """
    train = settings.train
    passes = 4 + 2 * (train.method == "full") + 2 * checkpoints_activations(train, device.kind)
    work = passes * (
        (shape.linear + shape.experts * shape.active) * rows.tokens
        + shape.hidden * shape.vocab * rows.trained
    )  # a row
    batch = train.rows_per_step
    count = steps(train, rows.count)
    if device.kind == "cpu":
        faster = 1.5 if device.width == 2 else 1.0
        return Estimate(
            START + count * batch * work / (CPU_FLOPS * device.cores * faster),
            2.5 if shape.exact else 4.0,
        )
    rate = GPU_FLOPS.get(
        device.capability, GPU_FLOPS[max(c for c in GPU_FLOPS if c <= max(device.capability, 7))]
    )
    return Estimate(
        START
        + count
        * max(batch * work / rate, STEP_ON_GPU * train.rows_per_step / train.guessed_rows)
        / ranks,
        3.0,
    )
