"""Errors of the hub's library, in words."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sftplay.errors import MachineError, NotFoundError
from sftplay.model.hub.access import hub_errors, read_token


def test_a_machine_without_network_is_told_so() -> None:
    failed = OSError(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(MachineError) as refused, hub_errors("o/n"):
        raise failed
    assert "this machine has no network" in str(refused.value)
    assert "Errno" not in str(refused.value) and "nothing was published" in refused.value.todo


def test_a_full_disk_is_not_a_missing_network(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), hub_errors("o/n"):
        Path("/dev/full").write_text("x")
    with pytest.raises(FileNotFoundError), hub_errors("o/n"):
        (tmp_path / "gone").read_text()
    # the hub's library wraps what fails while a large file is read or sent
    with pytest.raises(RuntimeError, match="while uploading"), hub_errors("o/n"):
        try:
            Path("/dev/full").write_text("x")
        except OSError as error:
            raise RuntimeError("Error while uploading 'model.safetensors' to the Hub.") from error
    with pytest.raises(RuntimeError, match="os error 28"), hub_errors("o/n"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(MachineError), hub_errors("o/n"):
        raise RuntimeError("Error while uploading 'x' to the Hub.") from ConnectionError("reset")
    # a connection's failure can have a number of the system too
    with pytest.raises(MachineError), hub_errors("o/n"):
        socket.create_connection(("127.0.0.1", 9))


def test_the_token_file_that_is_named_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(NotFoundError, match="names a file that is not there"):
        read_token()
    (tmp_path / "token").write_text("hf_abc\n")
    assert read_token() == "hf_abc"
    monkeypatch.delenv("HF_TOKEN_PATH")
    assert read_token() is None
