"""A launcher in the test's own process, for tests of the hand-over."""

from __future__ import annotations

from pathlib import Path

from sftplay.call import StageCall
from sftplay.decision import Decision
from sftplay.host.containers.available import AvailableImages
from sftplay.host.containers.engine import Engine
from sftplay.host.launch.request import LaunchRequest, ResolvedLaunch
from sftplay.host.launch.training import TrainingLaunch
from sftplay.host.local.environments import Environment
from sftplay.host.local.training import LocalTrainingRunner
from sftplay.host.select.choose import RunnerName
from sftplay.host.system.machine import read_machine
from sftplay.settings import Settings
from sftplay.stages import BY_NAME, Job
from tests.host.standin import Project

# the stage's arguments: of the first attempt, and of the one that takes over
UNSLOTH = "train --run demo --attempt=1"
BNB = "train --run demo --handed-over-from=01-unsloth"


def launch(
    project: Project,
    mode: str,
    bnb: str = "0",
    *,
    no_gpu: str = "",
    resume: bool = False,
    **fallback: object,
) -> int:
    """A launcher in this process: its supervisor and its stage are real processes all the same."""
    env = {"STAND_IN": mode, "STAND_IN_BNB": bnb, "PATH": "/usr/bin:/bin"}

    class StandIn(ResolvedLaunch):
        @property
        def no_gpu(self) -> str:
            return no_gpu

        def engine(self) -> Engine:
            raise AssertionError("nobody asked for an engine")

        def training_runner(self, backend: str) -> LocalTrainingRunner:
            stack = "unsloth" if backend == "unsloth" else "cpu"
            return LocalTrainingRunner(
                Environment(stack, Path("env/bin/python").absolute(), "sha256:0", "sha256:1"), env
            )

    values = {"backend": "unsloth", "backend_fallback": fallback, "run": {"name": "demo"}}
    job = Job(Settings.model_validate(values), Path("none.yaml"))
    call = StageCall(BY_NAME["train"], run="demo", options={"resume": resume})
    runner: Decision[RunnerName] = Decision("local", "asked for")
    return TrainingLaunch(
        StandIn(LaunchRequest(call), job, read_machine(), AvailableImages(), runner)
    ).run()
