"""The save path: what can't be saved is known before the first step, what was saved is read back,
and a full disk is an error of the operating system, whatever library notices it.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sftplay.errors import RefusedError
from sftplay.model.training.checkpoints import (
    disk_errors_as_such,
    load_weights_into,
    rehearse_save,
    save_weights,
)
from tests.box import Box
from tests.model.random_models import random_model


@pytest.fixture(params=[4, 16, 32])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Room for a part of the file only: none, the middle, all but its end."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_a_full_disk_is_an_error_of_the_operating_system(small_disk: Path, library: str) -> None:
    numbers = {"a": torch.zeros(8000), "b": torch.zeros(192)}
    with pytest.raises(OSError) as caught, disk_errors_as_such(small_disk):
        if library == "torch":
            torch.save(numbers, small_disk / "optimizer.pt")
        else:
            save_file(numbers, small_disk / "adapter_model.safetensors")
    assert caught.value.errno == errno.ENOSPC


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), disk_errors_as_such(tmp_path):
        raise RuntimeError("shape")


def test_retention_goes_by_step_and_keeps_the_best(project: Path, box: Box) -> None:
    ran = box.run(
        "train",
        "--config",
        "demo.yaml",
        "--set",
        "train.save_steps=1",
        "--set",
        "train.save_total_limit=1",
        cwd=project,
    )
    assert ran.code == 0, ran.err
    kept = [
        path.name
        for path in (project / "outputs/demo/attempts/01-bnb/checkpoints").glob("checkpoint-*")
    ]
    assert kept == ["checkpoint-8"]


@pytest.mark.parametrize("family", ["Llama", "GptOss", "Mamba", "Mixtral"])
def test_full_weights_are_read_back_as_they_were(family: str, tmp_path: Path) -> None:
    """Also where transformers saves them under other names: Mixtral's experts one by one."""
    model, other = random_model(family), random_model(family)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    save_weights(model, tmp_path)
    load_weights_into(other, tmp_path)
    wanted = model.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in other.state_dict().items())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(random_model("Llama"), tmp_path)
    with pytest.raises(RefusedError, match="does not fit the model"):
        load_weights_into(random_model("Qwen3"), tmp_path)


def test_a_rehearsal_leaves_model_and_disk_as_they_were(tmp_path: Path) -> None:
    model = random_model("Llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rehearse_save(model, tmp_path / "checkpoints")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not list((tmp_path / "checkpoints").iterdir())


def test_what_can_not_be_saved_is_refused_by_the_rehearsal(tmp_path: Path) -> None:
    model: Any = random_model("Llama")
    model.generation_config.temperature = 0.5  # without do_sample
    with pytest.raises(RefusedError, match="can't be saved"):
        rehearse_save(model, tmp_path)
    assert not list(tmp_path.iterdir())
