"""The hand-over as a stage does it: what is written, what is raised, and how the process ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftplay.cli import parse_job
from sftplay.errors import ConfigError, MachineError, ProtocolError
from sftplay.handover import HandOver, read_untrusted, write
from sftplay.model.unsloth.handing_over import (
    BackendUnusableError,
    _next_step,
    accepted,
    handing_over,
)
from sftplay.model.unsloth.probe import Verdict
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job
from tests.box import ROOT, Box
from tests.model.handed_over import continue_in_bnb
from tests.model.run_files import read_events

# Runs `handing_over` around a failure in a process of its own, because a hand-over leaves the
# process.
CHILD = """
import sys, types
from pathlib import Path
from sftplay.model.unsloth.handing_over import handing_over
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job
module = types.ModuleType("unsloth.models.loader")
exec(sys.argv[1], module.__dict__)
job = Job(Settings.model_validate({"backend": "unsloth", "run": {"name": "demo"}}), Path("demo.yaml"))
run = Run("demo")
attempt = run.attempt(1, "unsloth")
with handing_over(job, run, attempt) as progress:
    progress.phase, progress.step, progress.device = "train", int(sys.argv[2]), "a GPU"
    module.work()
"""


def _job(**settings: Any) -> Job:
    return Job(
        Settings.model_validate({"backend": "unsloth", "run": {"name": "demo"}, **settings}),
        Path("demo.yaml"),
        ("train.seed=1",),
    )


def _leave(
    tmp_path: Path, code: str, step: int, nonce: str = "n" * 32, **variables: str
) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "SFTPLAY_NONCE": nonce, **variables}
    argv = [sys.executable, "-c", CHILD, code, str(step)]
    return subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_backend_failure_is_written_down_and_ends_with_79(tmp_path: Path) -> None:
    ended = _leave(
        tmp_path,
        "def work():\n    raise RuntimeError('Unsloth: OLMo-3 only works on transformers >= 9.')",
        7,
    )
    assert ended.returncode == 79, ended.stderr
    path = tmp_path / "outputs" / "demo" / "attempts" / "01-unsloth" / "handover.json"
    found = read_untrusted(path, run="demo", attempt="01-unsloth", nonce="n" * 32)
    assert found is not None
    assert (found.reason, found.phase, found.step, found.device) == (
        "unsupported_model",
        "train",
        7,
        "a GPU",
    )
    assert found.exception == "builtins.RuntimeError" and found.message.startswith(
        "Unsloth: OLMo-3"
    )
    assert "torch" in found.versions
    assert (
        "Unsloth does not know this model" in ended.stderr
        and "continues in the BnB stack" in ended.stderr
    )
    (event,) = read_events(tmp_path)
    assert (event["event"], event["reason"], event["step"], event["to"]) == (
        "handed over",
        "unsupported_model",
        7,
        "bnb",
    )


def test_without_a_launcher_it_says_the_command_that_goes_on(tmp_path: Path) -> None:
    ended = _leave(
        tmp_path, "def work():\n    raise ImportError('No module named triton')", 0, nonce=""
    )
    assert ended.returncode == 79
    assert "train --config demo.yaml --handed-over-from 01-unsloth" in ended.stderr


def test_under_docker_compose_it_is_a_command_of_compose(tmp_path: Path) -> None:
    goes_on = "docker compose run --rm train-bnb"
    failing = "def work():\n    raise ImportError('No module named triton')"
    ended = _leave(tmp_path, failing, 0, nonce="", SFTPLAY_GOES_ON=goes_on)
    assert ended.returncode == 79
    assert f"{goes_on} --config demo.yaml --handed-over-from 01-unsloth" in ended.stderr


def test_the_run_is_named_once_in_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    job = parse_job(["train", "--run", "mine", "--set", "train.seed=1"])[1]
    said = _next_step(job, Run("mine").attempt(1, "unsloth"), launched=False)
    assert said.endswith("--run mine --set train.seed=1 --handed-over-from 01-unsloth")


@pytest.mark.parametrize(
    ("code", "step", "expected"),
    [
        ("def work():\n    raise MemoryError", 0, "MemoryError"),
        ("def work():\n    raise OSError(28, 'No space left on device')", 0, "No space left"),
        ("def work():\n    raise PermissionError(13, 'Permission denied')", 0, "Permission denied"),
        ("def work():\n    raise KeyboardInterrupt", 0, "KeyboardInterrupt"),
        (
            "def work():\n    from sftplay.errors import NonFiniteError\n    raise NonFiniteError('nan')",
            0,
            "nan",
        ),
        (
            "def work():\n    raise RuntimeError('CUDA out of memory. Tried to allocate')",
            0,
            "out of memory",
        ),
        (
            "def work():\n    raise ImportError('No module named triton')",
            51,
            "later than backend_fallback.max_lost_steps (50)",
        ),
    ],
    ids=["memory", "disk", "permission", "ctrl-c", "nan", "gpu memory", "too late"],
)
def test_what_never_hands_over_leaves_no_file(
    tmp_path: Path, code: str, step: int, expected: str
) -> None:
    ended = _leave(tmp_path, code, step)
    assert ended.returncode not in (0, 79) and expected in ended.stderr
    assert not list(tmp_path.rglob("handover.json"))


def test_too_late_names_both_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run("demo")
    job = _job(backend_fallback={"max_lost_steps": 3})
    with (
        pytest.raises(MachineError) as caught,
        handing_over(job, run, run.attempt(1, "unsloth")) as progress,
    ):
        progress.step = 4
        raise BackendUnusableError(Verdict("kernel", "x.Y", "broken"))
    assert (
        "inv train-unsloth" in caught.value.todo
        and "--resume" in caught.value.todo
        and "inv train-bnb" in caught.value.todo
    )


def test_a_bnb_attempt_hands_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run("demo")
    with pytest.raises(ImportError), handing_over(_job(), run, run.attempt(2, "bnb")):
        raise ImportError("No module named triton")
    with pytest.raises(ConfigError), handing_over(_job(), run, run.attempt(1, "unsloth")):
        raise ConfigError("x")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    run = Run("demo")
    write(
        run.attempt(1, "unsloth").folder,
        HandOver("demo", "01-unsloth", "n", "probe", "no_gpu", message="You need a GPU."),
    )
    return run


def test_the_next_attempt_knows_why(asked: Run) -> None:
    job = Job(_job().settings, Path("demo.yaml"), options={"handed_over_from": "01-unsloth"})
    found = accepted(job, asked)
    assert found is not None
    source, fallback = found
    assert (
        source.number == 1 and fallback.reason == "no_gpu" and fallback.message == "You need a GPU."
    )
    assert accepted(_job(), asked) is None


@pytest.mark.parametrize("name", ["02-unsloth", "../../elsewhere", "01-bnb"])
def test_an_attempt_that_asked_for_nothing_is_refused(asked: Run, name: str) -> None:
    job = Job(_job().settings, Path("demo.yaml"), options={"handed_over_from": name})
    with pytest.raises(ProtocolError):
        accepted(job, asked)


def _hand_over(project: Path) -> None:
    folder = project / "outputs" / "demo" / "attempts" / "01-unsloth"
    write(
        folder,
        HandOver("demo", "01-unsloth", "n", "preflight", "no_gpu", message="no NVIDIA device"),
    )


def _set_backend(project: Path) -> None:
    config = project / "demo.yaml"
    config.write_text(config.read_text() + "backend: unsloth\n")


def test_a_handed_over_run_trains_in_bnb_and_resumes_by_its_own_command(
    project: Path, box: Box
) -> None:
    _set_backend(project)
    _hand_over(project)
    ran = continue_in_bnb(box, project, "--set", "train.max_steps=4")
    assert ran.code == 0, ran.err
    run = project / "outputs" / "demo"
    stamp = json.loads((run / "backend.json").read_text())
    assert (stamp["requested_backend"], stamp["backend"]) == ("unsloth", "bnb")
    assert stamp["fallback"] == {
        "from_attempt": "01-unsloth",
        "reason": "no_gpu",
        "message": "no NVIDIA device",
    }
    assert (run / "attempts" / "02-bnb" / "checkpoints" / "checkpoint-4").is_dir()
    assert not (run / "attempts" / "01-unsloth" / "checkpoints").exists()
    again = box.run("train", "--config", "demo.yaml", "--resume", cwd=project)
    assert again.code == 0 and "resuming from checkpoint-4" in again.err, again.err
    assert sorted(p.name for p in (run / "attempts").iterdir()) == ["01-unsloth", "02-bnb"]
    other = box.run(
        "train", "--config", "demo.yaml", "--resume", "--set", "backend=bnb", cwd=project
    )
    assert other.code == 76 and "requested_backend" in other.err


def test_its_adapter_is_the_one_that_bnb_trains_when_asked_directly(
    project: Path, box: Box
) -> None:
    twin = project.parent / "twin"
    shutil.copytree(project, twin)
    assert box.run("train", "--config", "demo.yaml", cwd=twin).code == 0
    _set_backend(project)
    _hand_over(project)
    assert continue_in_bnb(box, project).code == 0
    weights = "outputs/demo/adapter/adapter_model.safetensors"
    assert (project / weights).read_bytes() == (twin / weights).read_bytes()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "nothing there": lambda path: path.unlink(),
    "half-written": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "another run's": lambda path: path.write_text(path.read_text().replace('"demo"', '"other"')),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_bad_request_starts_no_training(project: Path, box: Box, name: str) -> None:
    _set_backend(project)
    _hand_over(project)
    DAMAGE[name](project / "outputs" / "demo" / "attempts" / "01-unsloth" / "handover.json")
    ran = continue_in_bnb(box, project)
    assert ran.code == 70, ran.err
    assert not (project / "outputs" / "demo" / "backend.json").exists()


def test_without_unsloth_the_stage_says_which_stack_to_start(project: Path, box: Box) -> None:
    ran = box.run("train", "--config", "demo.yaml", "--set", "backend=unsloth", cwd=project)
    assert ran.code == 69 and "inv train-unsloth" in ran.err, ran.err
    assert not (project / "outputs" / "demo" / "attempts").exists()
