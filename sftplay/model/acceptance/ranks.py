"""Step `ranks`: one training in two processes, compared with the same one in one."""

from __future__ import annotations

import torch

from sftplay import parity
from sftplay.acceptance import SPEED
from sftplay.model.acceptance.backends import STEADY
from sftplay.model.acceptance.context import Context, NotAsExpected, Unusable
from sftplay.runs import Run

_STEPS = 4
_APART = {"cpu": 1e-4, "cuda": 0.02}  # of a loss: sums in another order


def run(context: Context) -> None:
    """Train the same steps in one rank and in two."""
    with context.row("two ranks train as one") as values:
        if context.device == "cuda" and torch.cuda.device_count() < 2:
            raise Unusable("each rank has a GPU of its own, and one is here")
        records = {
            count: context.train(
                f"ranks-{count}",
                train__processes=count,
                train__method="lora",
                train__batch_size=2,
                train__gradient_accumulation_steps=2,
                train__max_steps=_STEPS,
                **STEADY,
            )
            for count in (1, 2)
        }
        one, two = (parity.history(Run(f"ranks-{count}")) for count in (1, 2))
        apart = max(parity.difference(a.loss, b.loss) for a, b in zip(one, two, strict=True))
        values.update(
            {
                "loss_apart": apart,
                SPEED: records[2]["tokens_per_second"],
                "times_one": records[2]["tokens_per_second"] / records[1]["tokens_per_second"],
            }
        )
        if not apart <= _APART[context.device]:
            raise NotAsExpected(f"a loss is {apart:.2g} apart")
