"""Decisions of a training start before anything is loaded, in one place."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sftplay import __version__
from sftplay.attempts import Attempt
from sftplay.data.tokenizing.artifact import batches_of, read_split
from sftplay.decision import Decision
from sftplay.errors import DataError
from sftplay.fingerprint import fingerprint
from sftplay.freshness import read_stamp
from sftplay.input_limits import input_limits
from sftplay.model.runtime.device import decide_device
from sftplay.model.runtime.precision import decide_precision
from sftplay.model.runtime.versions import installed_versions
from sftplay.places import SPLITS, find_model, model_revision
from sftplay.ranks import ALONE, World
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job
from sftplay.stamp import Fallback, Stamp, surroundings
from sftplay.tuning_method import with_method

STAMPED_VERSIONS = (
    "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers", "unsloth", "unsloth_zoo",
)  # fmt: skip
# What shapes the optimization: changed, and a resumed run is another run.
OPTIMIZATION = (
    "learning_rate", "batch_size", "gradient_accumulation_steps", "lr_scheduler", "warmup_steps", "weight_decay",
    "max_grad_norm", "optimizer", "seed", "neftune_noise_alpha", "loraplus_lr_ratio", "loraplus_lr_embedding",
)  # fmt: skip


@dataclass(frozen=True)
class BatchSize:
    """Rows of one forward pass, passes of one optimizer step, and rows of one pass of an
    evaluation.
    """

    rows: int
    passes: int
    eval_rows: int

    def __str__(self) -> str:
        return f"{self.rows} × {self.passes}"


@dataclass(frozen=True)
class Plan:
    """One training start.

    Attributes:
        tokenized: folder with the Arrow files; facts: what its stamp says of them.
        init_adapter: folder of an adapter to start from.
        fallback: why this attempt is not in the backend that was asked for.
        lean: which parts of the model compute in fewer passes (see `lean`), and why no others;
            known once it is loaded.
        attention: the kernel that ran; known then, too. batch: rows of a pass that were found to
            fit.
        world: the processes that train; rank: number of this one. Rank 0 alone writes the run.
        nonce: of the start that made these ranks.
    """

    job: Job
    run: Run
    attempt: Attempt
    tokenized: Path
    facts: Mapping[str, Any]
    device: Decision[str]
    precision: Decision[str]
    init_adapter: Path | None
    fallback: Fallback | None = None
    lean: Decision[list[str]] | None = None
    attention: str | None = None
    batch: Decision[BatchSize] | None = None
    world: World = ALONE
    rank: int = 0
    nonce: str = ""

    @property
    def settings(self) -> Settings:
        return with_method(self.job.settings, self.device.value)

    @property
    def checkpointing(self) -> Decision[bool]:
        """Gradient checkpointing: a GPU is short of memory, a CPU of time."""
        asked = self.settings.train.gradient_checkpointing
        if asked != "auto":
            return Decision(asked, "asked for")
        return Decision(self.device.value == "cuda", "a GPU is short of memory, a CPU of time")

    @property
    def rows_per_step(self) -> int:
        """Rows of an optimizer step on this rank."""
        return self.settings.train.rows_per_step // self.world.size

    def _engine(self) -> dict[str, str] | None:
        """Return what starts and connects the ranks; None for a single one."""
        if self.world.size == 1:
            return None
        backend = "nccl" if self.device.value == "cuda" else "gloo"
        return {"torch-elastic": importlib.metadata.version("torch"), "backend": backend}

    def stamp(self) -> Stamp:
        """The stamp that this start writes, or is compared by."""
        settings, train = self.settings, self.settings.train
        adapter = train.method != "full"
        return Stamp(
            backend=self.attempt.backend,
            requested_backend=settings.backend,
            precision=self.precision.value,
            precision_reason=self.precision.reason,
            tuning_method=train.method,
            quantization="nf4" if train.method == "qlora" else None,
            attention=self.attention or settings.model.attention,
            device=self.device.value,
            base_model=settings.model.name,
            revision=model_revision(settings),
            weights_hash=fingerprint(find_model(settings)),
            template_hash=self.facts["template_hash"],
            data_hash=self.facts["values_hash"]["train"],
            lora=settings.lora.model_dump(mode="json") if adapter else None,
            init_adapter=fingerprint(self.init_adapter) if self.init_adapter else None,
            optimization={
                **{
                    key: value for key in OPTIMIZATION if (value := getattr(train, key)) is not None
                },
                "max_length": settings.model.max_length,
            },
            world_size=self.world.size,
            processes=self.world.processes,
            nodes=self.world.nodes,
            sharding=self.world.sharding,
            engine=self._engine(),
            versions=stamped_versions() | {"sftplay": __version__},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            fallback=self.fallback,
            **surroundings(),
        )


def make_plan(job: Job, target: Run, attempt: Attempt, tokenized: Path) -> Plan:
    """Decide what can be decided before the model is loaded.

    Raises:
        DataError: no row to train on, or ids and lengths that the model can't take (65).
    """
    stamp = read_stamp(tokenized)
    if stamp is None or not stamp.facts["rows"]["train"]:
        raise DataError(
            "the train split is empty",
            where=str(tokenized),
            todo="look at data/processed/report.json",
        )
    facts = stamp.facts
    limits = input_limits(find_model(job.settings))
    limits.check(_largest_id(tokenized, facts), facts["max_tokens"], str(tokenized))
    device = decide_device(job.settings)
    init = job.options.get("init_adapter")
    return Plan(
        job=job,
        run=target,
        attempt=attempt,
        tokenized=tokenized,
        facts=facts,
        device=device,
        precision=decide_precision(job.settings, device.value),
        init_adapter=Path(init) if init else None,
    )


def _largest_id(tokenized: Path, facts: Mapping[str, Any]) -> int:
    """The largest token id of the rows; stamps of older versions don't hold it."""
    if "max_id" in facts:
        return int(facts["max_id"])
    tables = [read_split(tokenized / f"{split}.arrow") for split in SPLITS]
    return max(
        (int(batch.tokens.max(initial=0)) for table in tables for batch in batches_of(table)),
        default=0,
    )


def stamped_versions() -> dict[str, str]:
    """Return the versions of the libraries that compute."""
    return installed_versions(STAMPED_VERSIONS)
