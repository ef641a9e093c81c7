"""Experiments at a time: one on a CPU."""

from __future__ import annotations

import pytest

from sftplay.host.batch.slots import IN_ORDER, choose_slots
from sftplay.host.system.machine import read_machine
from sftplay.settings import Settings


def test_experiments_on_the_cpu_run_one_after_the_other() -> None:
    on_cpu = Settings.model_validate({"train": {"device": "cpu"}})
    decision = choose_slots([on_cpu, on_cpu], {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (decision.value, decision.reason) == (IN_ORDER, "train.device: cpu")


@pytest.mark.skipif(read_machine().has_gpu, reason="this machine has a GPU")
def test_without_a_gpu_a_list_of_gpus_counts_for_nothing() -> None:
    decision = choose_slots([Settings()], {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (decision.value, decision.reason) == (IN_ORDER, "no NVIDIA GPU here")
