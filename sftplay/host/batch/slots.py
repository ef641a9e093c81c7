"""The number of a batch's experiments that run at the same time: one for each GPU, otherwise
one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sftplay.decision import Decision
from sftplay.host.system import machine, nvidia
from sftplay.settings import Settings

IN_ORDER: tuple[str | None, ...] = (None,)


def choose_slots(
    experiments: Sequence[Settings], environ: Mapping[str, str] = os.environ
) -> Decision[tuple[str | None, ...]]:
    """Values of CUDA_VISIBLE_DEVICES, one for each experiment that may run at a time; None leaves
    it as it is.

    Raises:
        MachineError: a GPU is there and does not answer (69).
    """
    if all(settings.train.device == "cpu" for settings in experiments):
        return Decision(IN_ORDER, "train.device: cpu")
    if not machine.read_machine().has_gpu:
        return Decision(IN_ORDER, "no NVIDIA GPU here")
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        named = tuple(word.strip() for word in chosen.split(",") if word.strip())
        return Decision(named or IN_ORDER, f"CUDA_VISIBLE_DEVICES names {len(named)} GPUs")
    count = len(nvidia.query_gpus())
    if count < 2:
        return Decision(IN_ORDER, "one GPU")
    return Decision(tuple(str(number) for number in range(count)), f"{count} GPUs")
