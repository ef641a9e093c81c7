from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.system.machine import read_machine, require_supported


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), ()),
        (("nvidiactl", "nvidia-uvm", "nvidia-modeset"), ()),
        (("nvidia0", "nvidia1", "nvidiactl"), ("nvidia0", "nvidia1")),
        (("dxg",), ("dxg",)),
        (("dxg", "nvidia0"), ("nvidia0",)),
    ],
)
def test_gpus_are_told_by_their_device_files(
    tmp_path: Path, files: tuple[str, ...], found: tuple[str, ...]
) -> None:
    for name in files:
        (tmp_path / name).touch()
    facts = read_machine(dev=tmp_path)
    assert facts.nvidia == tuple(str(tmp_path / name) for name in found)
    assert facts.has_gpu == bool(found)


def test_sizes_are_those_of_a_real_machine(tmp_path: Path) -> None:
    facts = read_machine(tmp_path)
    assert facts.cores >= 1
    assert facts.memory > 100 << 20
    assert facts.free_disk > 0


def test_a_docker_socket_is_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 characters
    monkeypatch.setenv("DOCKER_HOST", "unix://engine.sock")
    Path("engine.sock").touch()
    assert read_machine().docker_socket is None
    Path("engine.sock").unlink()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind("engine.sock")
        assert read_machine().docker_socket == Path("engine.sock")


@pytest.mark.parametrize(
    ("system", "arch"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")]
)
def test_other_machines_get_a_clear_word(system: str, arch: str) -> None:
    other = dataclasses.replace(read_machine(), system=system, arch=arch)
    with pytest.raises(MachineError, match=f"{system} {arch}"):
        require_supported(other)
