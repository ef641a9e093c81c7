"""Start one stage with the right runner and stack, and return its exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sftplay import console
from sftplay.cli import make_job, parse_job
from sftplay.decision import Decision
from sftplay.errors import MachineError, NotFoundError
from sftplay.freshness import read_stamp
from sftplay.host import choose, envs, launcher, local, machine
from sftplay.host.local import Call
from sftplay.locks import is_held
from sftplay.places import data_folder, find_model, is_local_model
from sftplay.rawdata import hub_datasets
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import BY_NAME, Stage


@dataclass(frozen=True)
class Prepared:
    """A stage that may start: its command line and config are right, and this machine has a runner for it."""

    call: Call
    settings: Settings
    facts: machine.Machine
    runner: Decision[choose.Runner]


def start(
    stage: str,
    *,
    config: str | None = None,
    run: str | None = None,
    overrides: Sequence[str] = (),
    options: Sequence[str] = (),
    runner: str = "auto",
) -> int:
    """Run a stage to its end.

    Args:
        stage: name in `stages.STAGES`.
        config: config file, run: run name, overrides: `key=value` each; as on the stage's own command line.
        options: the stage's own options, as argv (`["--style", "…"]`).
        runner: auto, docker or local.

    Returns:
        The stage's exit code (design section 5), 128 + signal where one ended it.

    Raises:
        SftplayError: what is wrong before the stage could start (usage, config, machine).
    """
    return run_prepared(prepare(Call(BY_NAME[stage], config, run, tuple(overrides), tuple(options)), runner))


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


def prepare(call: Call, runner: str) -> Prepared:
    """Find out what is wrong before anything is installed, fetched or written.

    Raises:
        SftplayError: usage (2), config (78), machine (69).
    """
    facts = machine.look()
    machine.require_supported(facts)
    settings = parse_job(call.argv)[1].settings
    if call.stage.name == "train" and settings.backend == "unsloth":
        raise MachineError(
            "the Unsloth stack is not in this version of sftplay yet",
            todo="train with BitsAndBytes: inv train-bnb, or --set backend=bnb",
        )
    return Prepared(call, settings, facts, choose.choose_runner(runner, facts))


def run_prepared(prepared: Prepared) -> int:
    """Fetch model and hub datasets where they are missing, then run the stage. Returns the exit code."""
    call = prepared.call
    for only, name in missing(call.stage, prepared.settings):
        console.info(f"{name} is not in the cache: fetching it first")
        options = (f"--only={only}",)
        code = _run_local(prepared, Call(BY_NAME["fetch"], call.config, call.run, call.overrides, options))
        if code:
            return code
    if _begins_on_cpu_for_want_of_a_gpu(prepared):
        from sftplay.host.patience import agree_to_cpu

        agree_to_cpu(prepared.settings, prepared.facts)
    return _run_local(prepared, call)


def _begins_on_cpu_for_want_of_a_gpu(prepared: Prepared) -> bool:
    """A training that nobody sent to the CPU, and that is not just gone on with."""
    settings, call = prepared.settings, prepared.call
    return (
        call.stage.name == "train"
        and settings.train.device == "auto"
        and not prepared.facts.has_gpu
        and "--resume" not in call.options
        and not is_held(Run(str(settings.run.name)).launch_lock)
    )


def _run_local(prepared: Prepared, call: Call) -> int:
    settings, facts = prepared.settings, prepared.facts
    stack = choose.choose_stack(call.stage, settings, facts, envs.present())
    environment = envs.ensure(stack.value)
    console.info(
        f"{call.stage.name}: {prepared.runner.value} runner ({prepared.runner.reason}), {stack.value} stack ({stack.reason})"
    )
    env = local.stage_environ(call.stage, environment, os.environ, cores=facts.cores)
    if call.stage.gpu:
        env["SFTPLAY_DEVICE"] = choose.choose_device(settings, facts).value
    if call.stage.name == "train":
        assert settings.run.name is not None  # load_config fills it in
        return launcher.train(Run(settings.run.name), call, environment, env)
    with local.token_file(os.environ if call.stage.network else {}) as token:
        code = local.run_foreground([str(environment.python), "-m", "sftplay", *call.argv], {**env, **token})
    local.explain_end(call.stage.name, code)
    return code


def missing(stage: Stage, settings: Settings) -> Iterator[tuple[str, str]]:
    """(what `fetch --only` takes, the name) for what the stage needs and the cache lacks."""
    if stage.raw and not (stage.name == "train" and _was_processed(settings)):
        lacking = [dataset.name for dataset in hub_datasets(settings.data) if not dataset.is_cached]
        if lacking:
            yield "data", ", ".join(lacking)
    if stage.model and not _model_is_there(settings):
        yield "model", settings.model.name


def _was_processed(settings: Settings) -> bool:
    """Whether rows were made of this data.raw before (or by hand): training then goes without the raw files."""
    folder = data_folder("processed", settings)
    stamp = read_stamp(folder)
    if stamp is None:
        return (folder / "train.jsonl").is_file()
    return bool(stamp.section.get("data.raw") == settings.data.raw)


def _model_is_there(settings: Settings) -> bool:
    """Whether no fetch is needed. A local folder is the stage's own to check."""
    if is_local_model(settings.model.name):
        return True
    try:
        find_model(settings)
    except NotFoundError:
        return False
    return True
