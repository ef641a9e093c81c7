import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.errors import BusyError, MachineError, NotFoundError
from sftplay.files import write_json
from sftplay.host.runs import tensorboard
from sftplay.host.system import processes
from sftplay.settings import Settings
from tests.host.conftest import NO_ENGINE, make_environment, stage_python


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose cpu environment is the one that stages run in: it holds the same TensorBoard."""
    python = stage_python()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path / ".envs"))
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    Path("outputs").mkdir()
    make_environment(Path(".envs"), f'exec "{python}" "$@"')


@pytest.fixture
def port() -> int:
    free = processes.next_free(16006)
    assert free is not None
    return free


def status(port: int) -> int:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    link.request("GET", "/")
    return link.getresponse().status


def test_it_answers_when_start_returns_is_started_once_and_stops(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tensorboard.start(port=port)
    try:
        assert status(port) == 200
        running = tensorboard.PAGE.ours()
        tensorboard.start()
        assert tensorboard.PAGE.ours() == running
        assert f"already runs for outputs: http://127.0.0.1:{port}" in capsys.readouterr().err
        with pytest.raises(BusyError, match=f"not started for port {port + 1}") as busy:
            tensorboard.start(port=port + 1)
        assert busy.value.code == 75 and "inv stop-tb" in busy.value.todo
        other = Settings.model_validate({"tensorboard": {"port": port + 1}})
        tensorboard.start_for(other, "auto")  # the training begins all the same
        assert "the training continues" in capsys.readouterr().err
        assert tensorboard.PAGE.ours() == running
    finally:
        tensorboard.stop()
    assert processes.is_free(port) and tensorboard.PAGE.ours() is None
    tensorboard.stop()
    assert "no TensorBoard of ours is running" in capsys.readouterr().err


def test_before_a_training_that_writes_nothing_for_it_that_is_said(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate({"tensorboard": {"port": port}})
    alone = Settings.model_validate({"train": {"trackers": ["trackio"]}})
    try:
        tensorboard.start_for(settings, "local")
        assert "writes nothing" not in capsys.readouterr().err
        tensorboard.start_for(alone, "local")
        assert (
            "writes nothing for TensorBoard: train.trackers is ['trackio']"
            in capsys.readouterr().err
        )
    finally:
        tensorboard.stop()


def test_a_port_of_somebody_else_is_named_with_its_owner_and_the_next_free_one(port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(MachineError, match=r"taken by process \d+ \(.*py") as no,
    ):
        tensorboard.start(port=port)
    assert no.value.todo.startswith("inv tensorboard --port ")
    assert not tensorboard.PAGE.record.exists()


def test_a_start_that_fails_shows_the_log_and_leaves_nothing(port: int) -> None:
    make_environment(Path(".envs"), "echo 'no module named tensorboard'; exit 1")
    with pytest.raises(MachineError, match="no module named tensorboard"):
        tensorboard.start(port=port)
    assert not tensorboard.PAGE.record.exists() and tensorboard.PAGE.ours() is None


def test_a_process_that_only_has_the_recorded_number_is_left_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as other:
        now = processes.identify(other.pid)
        assert now is not None
        process = {"pid": now.pid, "started": now.started - 60}
        write_json(tensorboard.PAGE.record, {"process": process, "port": 6006, "folder": "outputs"})
        assert tensorboard.PAGE.ours() is None
        tensorboard.stop()
        assert now.is_running() and not tensorboard.PAGE.record.exists()
        other.communicate(b"\n")


def test_a_run_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="no run nothere"):
        tensorboard.start(run="nothere")
