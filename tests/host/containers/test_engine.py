"""Every error of an engine that was seen or is documented, as recorded: one message, one code, one
next step each.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import docker.errors
import pytest
import requests
from urllib3.exceptions import ProtocolError as Aborted

from sftplay.errors import MachineError, PermissionDeniedError, SftplayError
from sftplay.host.containers import engine
from sftplay.host.containers.errors import engine_gone, explain_engine_error, is_gone


def answer(status: int, text: str) -> docker.errors.APIError:
    """Build the exception that the SDK raises for an answer of the engine."""
    response = requests.Response()
    response.status_code = status
    kind = (
        docker.errors.ImageNotFound if "no such image" in text.lower() else docker.errors.APIError
    )
    return kind(f"{status} Server Error", response=response, explanation=text)


RECORDED = [
    (500, 'could not select device driver "" with capabilities: [[gpu]]', 69, "can't give containers the GPU", "toolkit"),
    (500, "failed to create task for container: nvidia-container-cli: initialization error: driver error: failed to process request: unknown", 69, "the driver does not answer", "nvidia-smi"),
    (400, "Unknown runtime specified nvidia", 69, "runtime", "daemon.json"),
    (404, "No such image: sftplay/cpu:abc", 69, "image is missing", "inv image.build"),
    (500, "driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:6006: bind: address already in use", 69, "port is taken", "--port"),
    (500, "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:6006 failed: port is already allocated", 69, "port is taken", "--port"),
    (500, "write /var/lib/docker/overlay2/x: no space left on device", 74, "disk is full", "docker system df"),
    (400, 'invalid mount config for type "bind": bind source path does not exist: /nowhere/x', 69, "/nowhere/x", "--runner local"),
    (400, "client version 1.53 is too new. Maximum supported API version is 1.41", 69, "do not understand each other", "20.10"),
    (400, "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client", 69, "1.24", "20.10"),
    (500, "lookup init binary: could not find `catatonit`", 69, "no init", "catatonit"),
    (500, "something that nobody has seen", 69, "something that nobody has seen", "inv doctor"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "text", "code", "what", "todo"), RECORDED)
def test_what_the_engine_answers(status: int, text: str, code: int, what: str, todo: str) -> None:
    problem = explain_engine_error(answer(status, text))
    assert problem.code == code
    assert what in str(problem)
    assert todo in problem.todo


def refused(cause: OSError) -> requests.ConnectionError:
    return requests.ConnectionError(Aborted("Connection aborted.", cause))


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (
            refused(FileNotFoundError(2, "No such file or directory")),
            69,
            "no container engine answers",
        ),
        (
            refused(ConnectionRefusedError(111, "Connection refused")),
            69,
            "no container engine answers",
        ),
        (refused(PermissionError(13, "Permission denied")), 77, "no access"),
        (requests.ReadTimeout("read timed out"), 69, "no container engine answers"),
    ],
)
def test_no_answer_at_all(error: Exception, code: int, what: str) -> None:
    wrapped = docker.errors.DockerException(f"Error while fetching server API version: {error}")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        problem = explain_engine_error(each)
        assert problem.code == code
        assert what in str(problem)
    assert is_gone(error)


def test_an_answer_is_not_a_lost_engine() -> None:
    assert not is_gone(answer(404, "No such container: x"))


def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(MachineError, match="none") as failure:
        engine.connect()
    assert "--runner local" in failure.value.todo


def test_a_socket_that_nobody_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "x"))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/x")
        with pytest.raises(MachineError, match="no container engine answers"):
            engine.connect()


@pytest.mark.parametrize("host", ["tcp://", "nonsense", "ssh://"])
def test_a_damaged_address_is_a_message(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(SftplayError) as failure:
        engine.connect()
    assert failure.value.code == 69


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_socket_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "x"))
        server.listen()
        (tmp_path / "x").chmod(0)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/x")
        with pytest.raises(PermissionDeniedError):
            engine.connect()


def test_contexts_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from docker.context import ContextAPI

    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")  # contexts are looked for beside it
    ContextAPI.create_context("mine", host=f"unix://{tmp_path}/mine.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    assert engine.may_be_here()
    with pytest.raises(MachineError) as failure:
        engine.connect()
    assert failure.value.where == f"unix://{tmp_path}/mine.sock"


def test_an_engine_elsewhere_can_not_mount_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match="another machine"):
        engine._require_here("tcp://10.0.0.7:2375")
    engine._require_here("unix:///run/user/1000/docker.sock")
    engine._require_here("tcp://127.0.0.1:2375")


def test_a_lost_engine_says_how_to_come_back() -> None:
    problem = engine_gone("the training", "the same command finds it again")
    assert problem.code == 69
    assert "may continue" in str(problem)
    assert "finds it again" in problem.todo
