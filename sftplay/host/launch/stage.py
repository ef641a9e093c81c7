"""Start one stage with the right runner and stack, and return its exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sftplay import console
from sftplay.cli import make_job, parse_job
from sftplay.decision import Decision
from sftplay.errors import SftplayError
from sftplay.host.containers import available, engine
from sftplay.host.containers import runner as container_runner
from sftplay.host.containers.available import Shelf
from sftplay.host.images import registry
from sftplay.host.launch import launcher
from sftplay.host.launch.prefetch import missing
from sftplay.host.launch.runner import Order, Seat
from sftplay.host.local import environments
from sftplay.host.local import runner as local_runner
from sftplay.host.local.training import LocalSeat
from sftplay.host.protocol import records
from sftplay.host.protocol.call import Call
from sftplay.host.protocol.ends import explain_end
from sftplay.host.protocol.hub import token_file
from sftplay.host.select import choose
from sftplay.host.system import machine
from sftplay.locks import is_held
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import BY_NAME, Job
from sftplay.stamp import read_stamp as read_backend


@dataclass(frozen=True)
class Prepared:
    """A stage that may start: its command line and config are right, and this machine has a runner for it.

    Attributes:
        runner: the one that the stage itself gets, with the reason.
        shelf: the engine with its images; without one where nothing is to run in a container.
        preflight: Unsloth is not even started where there is no GPU.
    """

    call: Call
    job: Job
    facts: machine.Machine
    asked: str
    runner: Decision[choose.Runner]
    shelf: Shelf
    preflight: bool = True

    @property
    def settings(self) -> Settings:
        return self.job.settings


def start(
    stage: str,
    *,
    config: str | None = None,
    run: str | None = None,
    overrides: Sequence[str] = (),
    options: Sequence[str] = (),
    runner: str = "auto",
    preflight: bool = True,
    pull: bool = False,
) -> int:
    """Run a stage to its end.

    Args:
        stage: name in `stages.STAGES`.
        config: config file, run: run name, overrides: `key=value` each; as on the stage's own command line.
        options: the stage's own options, as argv (`["--style", "…"]`).
        runner: auto, docker or local.
        preflight: see `Prepared`.
        pull: bring the image first where it is not here; otherwise nothing is ever pulled.

    Returns:
        The stage's exit code (design section 5), 128 + signal where one ended it.

    Raises:
        SftplayError: what is wrong before the stage could start (usage, config, machine).
    """
    call = Call(BY_NAME[stage], config, run, tuple(overrides), tuple(options))
    return run_prepared(prepare(call, runner, preflight=preflight, pull=pull))


def start_pipeline(
    *,
    style: str | None = None,
    config: str | None = None,
    run: str | None = None,
    overrides: Sequence[str] = (),
    runner: str = "auto",
) -> int:
    """process, style (skipped where nobody gave a style prompt) and render; the first code that is not 0 ends it."""
    settings = make_job(config, run, overrides, {}).settings
    steps: list[tuple[str, list[str]]] = [("process", []), ("render", [])]
    if style is not None or settings.style.prompt:
        steps.insert(1, ("style", [] if style is None else [f"--style={style}"]))
    else:
        console.info("style: skipped, there is no style prompt (--style, or style.prompt in the config)")
    for stage, options in steps:
        code = start(stage, config=config, run=run, overrides=overrides, options=options, runner=runner)
        if code:
            return code
    return 0


def prepare(call: Call, runner: str, *, preflight: bool = True, pull: bool = False) -> Prepared:
    """Find out what is wrong before anything is installed, fetched or written.

    Raises:
        SftplayError: usage (2), config (78), machine (69).
    """
    choose.check_runner(runner)
    facts = machine.look()
    machine.require_supported(facts)
    job = parse_job(call.argv)[1]
    shelf = Shelf() if runner == "local" else available.look()
    stack = _stack(call, job.settings, facts, shelf.present, preflight=preflight)
    if pull and shelf.engine is not None and stack.value not in shelf.present:
        registry.pull([stack.value])
        shelf = available.look()
    return Prepared(call, job, facts, runner, choose.choose_runner(runner, stack.value, shelf), shelf, preflight)


def run_prepared(prepared: Prepared) -> int:
    """Fetch model and hub datasets where they are missing, then run the stage. Returns the exit code."""
    call = prepared.call
    for only, name in missing(call.stage, prepared.settings):
        console.info(f"{name} is not in the cache: fetching it first")
        fetch = Call(BY_NAME["fetch"], call.config, call.run, call.overrides, (f"--only={only}",))
        code = _run(_prepare_fetch(prepared, fetch))
        if code:
            return code
    if _begins_on_cpu_for_want_of_a_gpu(prepared):
        from sftplay.host.estimate.cpu_consent import agree_to_cpu

        agree_to_cpu(prepared.settings, prepared.facts)
    return _run(prepared)


def _prepare_fetch(prepared: Prepared, fetch: Call) -> Prepared:
    """The same runner where its image is there, else an environment: a model is fetched for both."""
    stack = choose.choose_stack(fetch.stage, prepared.settings, prepared.facts, prepared.shelf.present)
    runner = choose.choose_runner(
        prepared.runner.value if prepared.asked == "docker" else prepared.asked, stack.value, prepared.shelf
    )
    return replace(prepared, call=fetch, job=parse_job(fetch.argv)[1], runner=runner)


def _begins_on_cpu_for_want_of_a_gpu(prepared: Prepared) -> bool:
    """A training that nobody sent to the CPU, and that is not just gone on with."""
    settings, call = prepared.settings, prepared.call
    run = Run(str(settings.run.name))
    return (
        call.stage.name == "train"
        and settings.train.device == "auto"
        and not prepared.facts.has_gpu
        and "--resume" not in call.options
        and not is_held(run.launch_lock)
        and records.newest(run.launch) is None
    )


def _run(prepared: Prepared) -> int:
    call = prepared.call
    if call.stage.name == "train":
        order = _order(prepared)
        try:
            return launcher.train(order)
        finally:
            if prepared.runner.value == "docker":
                container_runner.give_back(order.run.folder)
    present = prepared.shelf.present if prepared.runner.value == "docker" else environments.present()
    stack = _stack(call, prepared.settings, prepared.facts, present)
    _say(prepared, stack)
    device = choose.choose_device(prepared.settings, prepared.facts).value if call.stage.gpu else ""
    if prepared.runner.value == "docker":
        assert prepared.shelf.engine is not None
        return container_runner.run(prepared.shelf.engine, call, prepared.job, prepared.facts, stack.value, device)
    environment = environments.ensure(stack.value)
    env = _environ(prepared, environment)
    with token_file(os.environ if call.stage.network else {}) as token:
        code = local_runner.run_foreground([str(environment.python), "-m", "sftplay", *call.argv], {**env, **token})
    explain_end(call.stage.name, code)
    return code


def _order(prepared: Prepared) -> Order:
    """What the launcher needs to start this training, and to hand it over."""
    settings, facts = prepared.settings, prepared.facts
    assert settings.run.name is not None  # load_config fills it in
    device = choose.choose_device(settings, facts)

    def seat(backend: str) -> Seat:
        return _seat(prepared, backend)

    return Order(
        run=Run(settings.run.name),
        call=prepared.call,
        settings=settings,
        seat=seat,
        engine=lambda: prepared.shelf.engine or engine.connect(),
        no_gpu=device.reason if device.value == "cpu" and prepared.preflight else "",
    )


def _seat(prepared: Prepared, backend: str) -> Seat:
    """Where an attempt of `backend` runs. After a hand-over that may be another runner than the one before it had."""
    settings, facts, call = prepared.settings, prepared.facts, prepared.call
    stack = choose.choose_training_stack(settings, facts, backend, preflight=prepared.preflight)
    runner = choose.choose_runner(prepared.asked, stack.value, prepared.shelf)
    chosen = replace(prepared, runner=runner)
    _say(chosen, stack)
    device = choose.choose_device(settings, facts).value
    if runner.value == "docker":
        assert prepared.shelf.engine is not None
        return container_runner.seat(prepared.shelf.engine, call, prepared.job, facts, stack.value, device)
    environment = environments.ensure(stack.value)
    return LocalSeat(environment, _environ(chosen, environment))


def _environ(prepared: Prepared, environment: environments.Environment) -> dict[str, str]:
    stage = prepared.call.stage
    env = local_runner.stage_environ(stage, environment, os.environ, cores=prepared.facts.cores)
    if stage.gpu:
        env["SFTPLAY_DEVICE"] = choose.choose_device(prepared.settings, prepared.facts).value
    return env


def _say(prepared: Prepared, stack: Decision[choose.Stack]) -> None:
    runner = prepared.runner
    console.info(
        f"{prepared.call.stage.name}: {runner.value} runner ({runner.reason}), {stack.value} stack ({stack.reason})"
    )


def _stack(
    call: Call, settings: Settings, facts: machine.Machine, present: frozenset[str], *, preflight: bool = True
) -> Decision[choose.Stack]:
    backend = _backend_of(Run(str(settings.run.name))) if call.stage.run else ""
    if call.stage.name == "train":
        return choose.choose_training_stack(settings, facts, backend or settings.backend, preflight=preflight)
    return choose.choose_stack(call.stage, settings, facts, present, backend)


def _backend_of(run: Run) -> str:
    """The backend that a run ended in; empty where nothing says so."""
    try:
        return read_backend(run.stamp).backend
    except SftplayError:
        return ""
