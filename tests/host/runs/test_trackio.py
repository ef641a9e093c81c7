"""`inv trackio` where it can't start; tests/host/trackio has the page itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sftplay.errors import BusyError, MachineError, NotFoundError
from sftplay.host.runs import tracked, trackio
from sftplay.host.system import processes
from sftplay.locks import hold


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path / ".envs"))
    Path("outputs").mkdir()


def test_a_run_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="no run nothere"):
        trackio.start(run="nothere")


def test_a_port_of_somebody_else_is_named_with_the_next_free_one() -> None:
    port = processes.next_free(17006)
    assert port is not None
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(MachineError, match=r"taken by process \d+") as no,
    ):
        trackio.start(port=port)
    assert no.value.todo.startswith("inv trackio --port ") and no.value.code == 69
    assert not Path(".envs").exists()  # seen before anything is installed


def test_the_address_opens_the_page_without_smoothing(capsys: pytest.CaptureFixture[str]) -> None:
    trackio.PAGE.announce(7860, 1.0)
    trackio.PAGE.report_running("outputs", 7860, "outputs", None)
    assert capsys.readouterr().err.count("http://127.0.0.1:7860/?smoothing=0") == 2


def test_a_second_page_on_one_store_is_refused() -> None:
    with hold(tracked.STORE_LOCK, who="a page"), pytest.raises(BusyError, match="another page"):
        trackio.start()


def test_without_environment_and_network_it_ends_with_69(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.endswith("FIND_LINKS")]:
        monkeypatch.delenv(name)
    with pytest.raises(MachineError, match="environment could not be made"):
        trackio.start(port=processes.next_free(17006))
    assert not tracked.STORE.exists() and trackio.PAGE.ours() is None
