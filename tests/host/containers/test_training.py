"""Trainings in containers of a real engine, with a small program in the stage's place: ends,
signals, kills, rights, convergence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sftplay.errors import SftplayError
from sftplay.host.containers import engine as engines
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.spec import project_of
from sftplay.host.containers.training import adopt
from sftplay.host.protocol import records
from sftplay.host.protocol.signals import StopSignals
from sftplay.runs import Run
from tests.host.standin import Project, image_with_python, wait_until

pytestmark = pytest.mark.docker

# Stands between a launcher and the engine: killed, the engine is gone for the launcher, and for
# nobody else.
BETWEEN = """
import asyncio, sys
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
async def serve(reader, writer):
    inner, outer = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(copy(reader, outer), copy(inner, writer), return_exceptions=True)
    outer.close()
    writer.close()
async def main():
    async with await asyncio.start_unix_server(serve, sys.argv[2]) as server:
        await server.serve_forever()
asyncio.run(main())
"""
UNSLOTH = "train --run demo --attempt=1"
BNB = "train --run demo --handed-over-from=01-unsloth"


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        return engines.connect()
    except SftplayError as problem:
        pytest.skip(f"no container engine: {problem}")


@pytest.fixture(scope="module")
def image() -> str:
    return image_with_python()


@pytest.fixture
def project(tmp_path: Path, engine: Engine, image: str) -> Iterator[Project]:
    project = Project(tmp_path, "docker", image)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    yield project
    project.end()
    for found in containers(engine, project):
        engine.api.remove_container(found["Id"], force=True)


def containers(engine: Engine, project: Project) -> list[dict[str, Any]]:
    label = f"sftplay.project={project_of(str(project.folder))}"
    return list(engine.api.containers(all=True, filters={"label": label}))


def running(engine: Engine, project: Project) -> str:
    wait_until(
        lambda: any(c["State"] == "running" for c in containers(engine, project)),
        "a running container",
    )
    return str(next(c["Id"] for c in containers(engine, project) if c["State"] == "running"))


def the_same_command_comes_back(engine: Engine, project: Project) -> None:
    """It watches the training that still runs, to its end, and nothing is left."""
    again = project.start()
    project.sees(again, b"watching it")
    (project.run / "enough").touch()
    assert project.ends(again) == 0
    assert project.starts() == 1
    assert containers(engine, project) == []


def test_the_end_is_passed_on_written_down_and_nothing_is_left(
    engine: Engine, project: Project
) -> None:
    launcher = project.start(mode="65")
    assert project.ends(launcher) == 65
    assert b"begins train --run demo\n50%\r\xff100%\n" in project.terminal(launcher)
    start, end = project.record("start-001.json"), project.record("exit-001.json")
    assert (start["runner"], start["stack"], start["image"]) == ("docker", "cpu", "sha256:2")
    assert (end["code"], end["oom"], end["nonce"]) == (65, False, start["nonce"])
    assert b"100%" in (project.run / "launch" / "output-001.log").read_bytes()
    assert containers(engine, project) == []


def test_a_crash_of_native_code(project: Project) -> None:
    launcher = project.start(mode="segfault")
    assert project.ends(launcher) == 139
    assert b"SIGSEGV" in project.terminal(launcher)


def test_ctrl_c_saves_and_a_second_one_ends_it(engine: Engine, project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.send_signal(signal.SIGINT)
    assert project.ends(launcher) == 85
    assert (project.run / "saved").exists()
    deaf = project.start(mode="deaf")
    project.sees(deaf, b"step 1")
    deaf.send_signal(signal.SIGTERM)
    project.sees(deaf, b"saving")
    deaf.send_signal(signal.SIGTERM)
    assert project.ends(deaf) == 130
    assert project.record("exit-002.json")["asked"] == "kill"
    assert containers(engine, project) == []


def test_killed_from_outside_and_out_of_memory_are_told_apart(
    engine: Engine, project: Project
) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    engine.api.kill(running(engine, project))
    assert project.ends(launcher) == 137
    assert b"killed from outside, not for memory" in project.terminal(launcher)
    project.memory = 64 << 20
    hungry = project.start(mode="eat")
    assert project.ends(hungry) == 137
    assert b"out of memory" in project.terminal(hungry)
    assert [project.record(f"exit-00{n}.json")["oom"] for n in (1, 2)] == [False, True]


def test_a_container_that_somebody_removed(engine: Engine, project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    engine.api.remove_container(running(engine, project), force=True)
    assert project.ends(launcher) == 137
    # rm -f kills first and removes then; which of the two is seen is a matter of milliseconds
    assert any(
        words in project.terminal(launcher)
        for words in (b"removed by somebody", b"killed from outside")
    )
    assert containers(engine, project) == []


def test_what_a_training_may_and_may_not(project: Project) -> None:
    user = other_user()
    if user is not None:  # root works in the project of another
        project.user = f"{user}:{user}"
        for path in (
            project.folder,
            project.folder / "data",
            project.folder / "outputs",
            project.run,
        ):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, user, user)
    launcher = project.start(mode="look")
    assert project.ends(launcher) == 0, project.terminal(launcher).decode()
    said = project.terminal(launcher).decode()
    refused = {line.split()[1] for line in said.splitlines() if line.startswith("refused")}
    wrote = {line.split()[1] for line in said.splitlines() if line.startswith("wrote")}
    assert refused == {
        "/etc/x",
        "/sft/configs/x",
        "/sft/outputs/demo/launch/x",
        "/sft/data/raw/x",
        "/cache/x",
    }
    assert wrote == {"/sft/data/x", "/tmp/x"}
    assert "no network" in said
    assert f"uid {project.user.partition(':')[0]} " in said
    assert "CapEff:\\t0000000000000000" in said
    assert "NoNewPrivs:\\t1" in said
    wanted = int(project.user.partition(":")[0])
    made = [
        path
        for path in (project.run, *project.run.glob("*"))
        if path.name in ("starts", ".run.lock")
    ]
    assert {path.lstat().st_uid for path in made} == {wanted}


def other_user() -> int | None:
    """A uid that is not root's, where these tests run as root."""
    return 4711 if os.geteuid() == 0 else None


def test_a_closed_terminal_lets_it_go_on_and_the_same_command_comes_back(
    engine: Engine, project: Project
) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.send_signal(signal.SIGHUP)
    assert project.ends(launcher) == 129
    other = project.start("--no-auto")
    assert project.ends(other) == 75
    the_same_command_comes_back(engine, project)


def test_an_end_that_nobody_saw_is_harvested(engine: Engine, project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.kill()
    (project.run / "enough").touch()
    wait_until(lambda: all(c["State"] == "exited" for c in containers(engine, project)), "the end")
    told = project.start()
    assert project.ends(told) == 0
    assert b"ended meanwhile" in project.terminal(told)
    assert b"done" in project.terminal(told)
    assert project.starts() == 1
    assert containers(engine, project) == []


def test_without_the_engine_an_ended_run_goes_on_and_a_running_one_is_not_doubled(
    engine: Engine, project: Project, tmp_path: Path
) -> None:
    gone = {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    assert project.ends(project.start(mode="65")) == 65
    project.runner = "local"
    assert project.ends(project.start(mode="65", **gone)) == 65
    project.runner = "docker"
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.kill()
    launcher.wait()
    project.runner = "local"
    assert project.ends(project.start(mode="0", **gone)) == 69
    assert project.starts() == 3


def test_an_engine_that_is_lost_ends_the_watching_and_nothing_else(
    engine: Engine, project: Project, tmp_path: Path
) -> None:
    if not engine.host.startswith("unix://"):
        pytest.skip("the engine is not on a socket of this machine")
    address = tmp_path / "s"
    argv = [sys.executable, "-c", BETWEEN, engine.host.removeprefix("unix://"), str(address)]
    with subprocess.Popen(argv) as between:
        wait_until(address.exists, "the socket")
        launcher = project.start(DOCKER_HOST=f"unix://{address}")
        project.sees(launcher, b"step 1")
        between.kill()
    assert project.ends(launcher) == 69
    assert b"the container engine is gone; the training may continue" in project.terminal(launcher)
    the_same_command_comes_back(engine, project)


def test_inv_ps_and_stop_find_what_nobody_watches(engine: Engine, project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.kill()
    launcher.wait()
    assert "demo" in task(project, "show()")
    assert "no terminal watches it" in task(project, "show()")
    said = task(project, "stop(['demo'], everything=False)")
    assert "its checkpoint is written" in said
    assert (project.run / "saved").exists()
    assert project.record("exit-001.json")["asked"] == "stop"
    assert containers(engine, project) == []
    assert "nothing of this project runs" in task(project, "show()")


def task(project: Project, call: str) -> str:
    """Run a task of `sftplay.host.runs.ps`; return its output."""
    end = subprocess.run(
        [sys.executable, "-c", f"from sftplay.host.runs import ps; ps.{call}"],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    return end.stdout + end.stderr


def test_a_training_that_ends_while_it_is_found_again_is_not_waited_for(
    engine: Engine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.kill()
    launcher.wait()
    (project.run / "enough").touch()
    wait_until(
        lambda: containers(engine, project)[0]["State"] == "exited", "the end of the training"
    )
    monkeypatch.chdir(project.folder)
    run, found = Run("demo"), []
    start = records.newest(run.launch)
    assert start is not None
    watching = threading.Thread(
        target=lambda: found.append(adopt(engine, run, start).watch(StopSignals())), daemon=True
    )
    watching.start()
    watching.join(20)
    assert [end and end.code for end in found] == [0]
    assert containers(engine, project) == []


def test_a_mount_that_is_not_there_is_said_and_leaves_nothing(
    engine: Engine, project: Project
) -> None:
    (project.folder / "configs" / "stage.py").unlink()
    (project.folder / "configs").rmdir()
    (project.folder / "configs").symlink_to("/nowhere/at/all")
    launcher = project.start()
    assert project.ends(launcher) in (66, 69, 74)
    assert containers(engine, project) == []
    assert project.record("exit-001.json")["code"] != 0


def test_a_hand_over_and_a_forged_one(engine: Engine, project: Project) -> None:
    launcher = project.start(mode="ask:79", backend="unsloth")
    assert project.ends(launcher) == 0, project.terminal(launcher).decode()
    assert project.start_lines() == [UNSLOTH, BNB]
    assert [project.record(f"start-00{n}.json")["stack"] for n in (1, 2)] == ["unsloth", "cpu"]
    assert b"continuing with BnB from step 0" in project.terminal(launcher)
    assert containers(engine, project) == []


@pytest.mark.parametrize("what", ["nothing", "nonce", "fifo"])
def test_79_without_a_valid_file_is_70(project: Project, what: str) -> None:
    launcher = project.start(mode=f"ask:79:{what}", backend="unsloth")
    assert project.ends(launcher) == 70
    assert project.start_lines() == [UNSLOTH]


def kill_and_converge(engine: Engine, project: Project, kills: int, seed: int) -> int:
    random, killed = Random(seed), 0
    for _ in range(kills):
        launcher = project.start(mode="ask:79", bnb="run", backend="unsloth", STAND_IN_PAUSE="0.3")
        time.sleep(random.uniform(0.3, 4))
        killed += launcher.poll() is None
        launcher.kill()
        launcher.wait()
        assert sum(c["State"] == "running" for c in containers(engine, project)) <= 1
    last = project.start(mode="ask:79", bnb="run", backend="unsloth", STAND_IN_PAUSE="0.3")
    wait_until(
        lambda: BNB in project.start_lines() or last.poll() is not None, "the second attempt"
    )
    (project.run / "enough").touch()
    assert project.ends(last) == 0, project.terminal(last).decode()
    assert project.start_lines() == [UNSLOTH, BNB]
    assert containers(engine, project) == []
    return killed


def test_launchers_killed_at_random_moments_converge(engine: Engine, project: Project) -> None:
    assert kill_and_converge(engine, project, 5, seed=3) >= 4


@pytest.mark.long  # 50 kills in ten trainings, some minutes
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_converge(engine: Engine, project: Project, seed: int) -> None:
    assert kill_and_converge(engine, project, 5, seed=seed)
