"""A task for a stage, made from the stage's row: its options live once, in the stage table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any

from invoke.context import Context
from invoke.tasks import Task

from sftplay.host.cli.task import task
from sftplay.stages import BY_NAME, Option

_COMMON = {
    "config": "config file (default: configs/run_bnb.yaml; with --run: that run's own)",
    "run": "name of the run in outputs/ (default: the config's run.name, else its file stem)",
    "set_": "change one config value, as in --set train.learning_rate=1e-4; may be repeated",
    "device": "auto, cuda or cpu; the same as --set train.device=…",
    "runner": "auto, docker or local: a container, or an environment on this machine",
    "pull": "pull the image first where it is not here (without this nothing is ever pulled)",
    "no_preflight": "start the Unsloth stack even where there is no GPU (it fails there, and BnB takes over)",
}


def stage_task(
    stage: str,
    doc: str,
    *,
    name: str | None = None,
    fixed: Sequence[str] = (),
    without: Sequence[str] = (),
    required: str | None = None,
    overrides: Sequence[str] = (),
    tensorboard: bool = False,
) -> Task[Any]:
    """The task that runs `stage`.

    Args:
        doc: the task's line in `--list`.
        name: the task's name (default: the stage's).
        fixed: options that this task always passes, as argv; without: options that it does not offer, by key.
        required: key of an option that must be given.
        overrides: `--set` values that this task always passes, after the person's own.
        tensorboard: start TensorBoard first and leave it running.
    """
    row = BY_NAME[stage]
    hidden = {word.removeprefix("--").replace("-", "_") for word in fixed} | set(without)
    offered = [option for option in row.options if not option.internal and option.key not in hidden]

    def body(context: Context, **given: Any) -> int:
        from sftplay.host.launch import stage as stages
        from sftplay.host.protocol.call import Call

        device = [f"train.device={given['device']}"] if given.get("device") else []
        chosen = (*given["set_"], *device, *overrides)
        call = Call(row, given["config"], given["run"], chosen, (*fixed, *as_argv(offered, given)))
        preflight = not given.get("no_preflight")
        prepared = stages.prepare(call, given["runner"], preflight=preflight, pull=given["pull"])
        if tensorboard:
            from sftplay.host.runs import tensorboard as board

            board.start(port=prepared.settings.tensorboard.port, runner=prepared.runner.value)
        return stages.run_prepared(prepared)

    parameters = [Parameter("context", Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += sorted(
        (_parameter(option, required=option.key == required) for option in offered),
        key=lambda parameter: parameter.default is not Parameter.empty,
    )
    common: dict[str, Any] = {
        "config": None,
        "run": None,
        "set_": [],
        **({"device": None} if row.gpu else {}),
        "runner": "auto",
        "pull": False,
        **({"no_preflight": False} if stage == "train" else {}),
    }
    parameters += [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, default=value) for key, value in common.items()]
    body.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = doc
    help_texts = {option.key: _help(option) for option in offered} | {key: _COMMON[key] for key in common}
    return task(name=name or stage, help=help_texts, iterable=["set_"])(body)


def as_argv(options: Sequence[Option], given: Mapping[str, Any]) -> list[str]:
    """The options that a person gave, as the stage's argv."""
    argv: list[str] = []
    for option in options:
        value = given.get(option.key)
        if option.kind == "flag":
            argv += [option.name] if value else []
        elif value is not None:
            argv.append(f"{option.name}={value}")  # one word: a value may begin with a dash
    return argv


def _parameter(option: Option, *, required: bool) -> Parameter:
    default = Parameter.empty if required else False if option.kind == "flag" else None
    return Parameter(option.key, Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _help(option: Option) -> str:
    return f"{option.help}: {', '.join(option.choices)}" if option.choices else option.help
