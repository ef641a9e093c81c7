from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.system import nvidia


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name on the PATH: nvidia-smi itself is the edge that can't be had without a
    GPU.
    """
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + script + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_card_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA H200, 143771, 143167, 9.0, 570.86.15'")
    (card,) = nvidia.query_gpus()
    assert (card.name, card.capability, card.driver) == ("NVIDIA H200", (9, 0), "570.86.15")
    assert card.free == 143167 * 1024 * 1024


def test_a_driver_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(
        tmp_path,
        monkeypatch,
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
    )
    with pytest.raises(MachineError, match="version mismatch"):
        nvidia.query_gpus()


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "exec sleep 30")
    with pytest.raises(MachineError, match="did not answer"):
        nvidia.query_gpus(timeout=0.3)


def test_one_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="nvidia-smi is not"):
        nvidia.query_gpus()


def test_an_unknown_answer_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA T4, [N/A], [N/A], 7.5, 535'")
    with pytest.raises(MachineError, match="N/A"):
        nvidia.query_gpus()
