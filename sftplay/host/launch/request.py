"""A person's request, and what this machine makes of it: runner, stack and device of a stage."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.call import StageCall
from sftplay.cli import resolve as resolve_job
from sftplay.decision import Decision
from sftplay.errors import SftplayError
from sftplay.files import write_json
from sftplay.gguf_file import check_gguf
from sftplay.host.containers import available, engine
from sftplay.host.containers import runner as container_runner
from sftplay.host.containers.available import AvailableImages
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.ownership import hand_to_owner
from sftplay.host.images import registry
from sftplay.host.launch.runner import TrainingRunner
from sftplay.host.local import active, environments
from sftplay.host.local.environments import Environment
from sftplay.host.local.runner import stage_environ
from sftplay.host.local.training import LocalTrainingRunner
from sftplay.host.select import choose
from sftplay.host.select.choose import DeviceName, RunnerName, StackName
from sftplay.host.system import machine
from sftplay.host.system.machine import Machine
from sftplay.lmeval import is_file, split_words
from sftplay.places import OUTPUTS
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job
from sftplay.stamp import read_stamp
from sftplay.task_file import read_task
from sftplay.untrusted import read_json

_LAST = OUTPUTS / ".last-start.json"  # where the last stage ran, as it was printed


@dataclass(frozen=True)
class LaunchRequest:
    """A stage call, and how it is to be started.

    Attributes:
        runner: auto, docker, local or active.
        preflight: Unsloth is not even started where there is no GPU.
        pull: bring the image first where it is missing; otherwise nothing is ever pulled.
    """

    call: StageCall
    runner: str = "auto"
    preflight: bool = True
    pull: bool = False


@dataclass(frozen=True)
class ResolvedLaunch:
    """A request that may start: its command line and config are right, and this machine has a
    runner for it.

    Attributes:
        images: the engine with its images; without one where nothing is to run in a container.
        runner: the one that the stage itself gets, with the reason.
    """

    request: LaunchRequest
    job: Job
    machine: Machine
    images: AvailableImages
    runner: Decision[RunnerName]

    @property
    def call(self) -> StageCall:
        return self.request.call

    @property
    def settings(self) -> Settings:
        return self.job.settings

    @property
    def run(self) -> Run:
        return Run(self.job.run_name)

    @property
    def resume(self) -> bool:
        return bool(self.call.options.get("resume"))

    @property
    def no_gpu(self) -> str:
        """Return why Unsloth need not be tried here (preflight); empty: it is tried."""
        device = choose.choose_device(self.settings, self.machine)
        return device.reason if device.value == "cpu" and self.request.preflight else ""

    def device(self) -> DeviceName | None:
        """Decide where a stage that computes does so; None for the others, and for llama.cpp."""
        if not self.call.stage.gpu or self.call.packages == "export":
            return None
        return choose.choose_device(self.settings, self.machine).value

    def stack(self, present: frozenset[str]) -> Decision[StackName]:
        """Decide the stage's stack.

        Args:
            present: stacks whose image or environment is here.
        """
        return _choose_stack(self.request, self.job, self.machine, present)

    def engine(self) -> Engine:
        """Return the container engine.

        Asked for only where a start of this run is or was in a container.
        """
        return self.images.engine or engine.connect()

    def training_runner(self, backend: str) -> TrainingRunner:
        """Return what starts an attempt of `backend`; after a hand-over it may differ from the
        attempt before.

        May make an environment.

        Raises:
            MachineError: no image, or no environment (69).
        """
        stack = choose.choose_training_stack(
            self.settings, self.machine, backend, preflight=self.request.preflight
        )
        runner = choose.choose_runner(self.request.runner, stack.value, self.images, active.named())
        announce(self.call, runner, stack)
        device = choose.choose_device(self.settings, self.machine).value
        if runner.value == "docker":
            return container_runner.training_runner(
                self.engine(), self.call, self.job, self.machine, stack.value, device
            )
        environment = self.environment(runner.value, stack.value, backend)
        env = stage_environ(
            self.call.stage, environment, os.environ, cores=self.machine.cores, device=device
        )
        return LocalTrainingRunner(environment, env)

    def backend(self) -> str:
        """Return the backend that the stage's run ended in; without one, the config's."""
        ended_in = _backend_of(self.run) if self.call.stage.run else ""
        return ended_in or self.settings.backend

    def environment(self, runner: str, stack: str, backend: str) -> Environment:
        """Return what a stage runs in without a container: a locked environment, made where it is
        missing, or the user's own Python.

        Raises:
            SftplayError: it can't be made, or packages are missing (66, 69).
        """
        if runner == active.NAME:
            return active.environment(backend, self.settings.backend, stack)
        return environments.ensure(stack)


def resolve(request: LaunchRequest) -> ResolvedLaunch:
    """Find out what is wrong before anything is installed, fetched or written.

    Raises:
        SftplayError: usage (2), no such run or file (66), config (78), machine (69).
    """
    choose.check_runner(request.runner)
    here = machine.read_machine()
    machine.require_supported(here)
    job = resolve_job(request.call)
    _require_what_it_reads(request.call, Run(job.run_name))
    alone = choose.needs_no_engine(request.runner, active.named())
    images = AvailableImages() if alone else available.find()
    stack = _choose_stack(request, job, here, images.present)
    if request.pull and images.engine is not None and stack.value not in images.present:
        registry.pull([stack.value])
        images = available.find()
    return ResolvedLaunch(
        request,
        job,
        here,
        images,
        choose.choose_runner(request.runner, stack.value, images, active.named()),
    )


def _require_what_it_reads(call: StageCall, run: Run) -> None:
    """Refuse a run or file that is not there, before an environment is made for it.

    Raises:
        NotFoundError: no such run, or none that is trained (66); no such file (66). ConfigError: a
            task file that lm-eval can't read (78). SftplayError: as `check_gguf`.
    """
    gguf = call.options.get("gguf")
    if gguf and call.packages == "export":
        check_gguf(run, str(gguf))
    trained = call.stage.run and call.stage.name != "train" and not call.options.get("base")
    if trained and run.tuned() is None:  # the stage itself verifies the weights
        run.require_tuned()
    if tasks := call.options.get("tasks"):
        for word in filter(is_file, split_words(str(tasks))):
            read_task(Path(word), trusted=bool(call.options.get("trust_tasks")))


def announce(call: StageCall, runner: Decision[RunnerName], stack: Decision[StackName]) -> None:
    """Print where a stage runs, and why there, unless the last one of this project ran there too."""
    chosen = {"runner": runner.value, "reason": runner.reason, "stack": stack.value}
    if _last_choice() == chosen:
        return
    if OUTPUTS.is_dir():
        with contextlib.suppress(SftplayError):  # then it is printed once more
            write_json(_LAST, chosen)
            hand_to_owner(_LAST)  # root may work in another user's project
    where = f"{call.stage.name}: {runner.value} runner ({runner.reason})"
    if runner.value != active.NAME:  # a Python of the user's is no stack; its own line follows
        where += f", {stack.value} stack ({stack.reason})"
    console.info(where)


def _last_choice() -> Any:
    """Return where the last stage of this project ran; None if nothing says so."""
    try:
        return read_json(_LAST)
    except SftplayError:
        return None


def _choose_stack(
    request: LaunchRequest, job: Job, here: Machine, present: frozenset[str]
) -> Decision[StackName]:
    stage, settings = request.call.stage, job.settings
    if request.call.packages == "export":
        return choose.EXPORT
    if request.call.packages:
        return choose.choose_lm_eval(settings, here)
    backend = _backend_of(Run(job.run_name)) if stage.run else ""
    if stage.name == "train":
        return choose.choose_training_stack(
            settings, here, backend or settings.backend, preflight=request.preflight
        )
    return choose.choose_stack(stage, settings, here, present, backend)


def _backend_of(run: Run) -> str:
    """Return the backend that a run ended in; empty where nothing says so."""
    try:
        return read_stamp(run.stamp).backend
    except SftplayError:
        return ""
