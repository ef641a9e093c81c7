"""A task for a stage, made from the stage's row: its options live once, in the stage table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any

from invoke.context import Context
from invoke.tasks import Task

from sftplay.call import StageCall
from sftplay.cli import quote_yaml
from sftplay.errors import NotFoundError
from sftplay.host.cli.task import task
from sftplay.stages import BY_NAME, Option

_COMMON = {
    "config": "config file (default: configs/run_bnb.yaml; with --run: that run's own)",
    "run": "name of the run in outputs/ (default: the config's run.name, else its file stem)",
    "trained": "name of the run in outputs/ (default: with --config that config's, else the newest)",
    "set_": "change one config value, as in --set train.learning_rate=1e-4; may be repeated",
    "device": "auto, cuda or cpu; the same as --set train.device=…",
    "runner": "auto, docker, local or active: a container, an environment on this machine, or your own Python",
    "pull": "pull the image first if it is missing (otherwise nothing is ever pulled)",
    "file": "a file, a folder or a hub dataset; more may follow (default: data.raw)",
    "no_preflight": "start the Unsloth stack even without a GPU (it fails there, and BnB takes over)",
}


def stage_task(
    stage: str,
    doc: str,
    *,
    name: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    required: str | None = None,
    overrides: Sequence[str] = (),
    tensorboard: bool = False,
    raw_files: bool = False,
) -> Task[Any]:
    """The task that runs `stage`.

    Args:
        doc: the task's line in `--list`.
        name: the task's name (default: the stage's).
        fixed: other defaults of options, by key; without: options that it does not offer, by key.
        required: key of an option that must be given.
        overrides: `--set` values that this task always passes, after the person's own.
        tensorboard: start TensorBoard first and leave it running.
        raw_files: words after the task's name are files to read instead of data.raw.
    """
    row = BY_NAME[stage]
    trained = row.run and stage != "train"  # works on a run that is there
    offered = [
        option for option in row.options if not option.internal and option.key not in without
    ]

    def body(context: Context, **given: Any) -> int:
        from sftplay.host.launch.request import LaunchRequest
        from sftplay.host.launch.stage import prepare

        device = [f"train.device={given['device']}"] if given.get("device") else []
        files = [f"data.raw={one_or_list(given['file'])}"] if given.get("file") else []
        chosen = (*given["set_"], *device, *files, *overrides)
        options = {**(fixed or {}), **parse_options(offered, given)}
        run = given["run"]
        if trained and run is None and given["config"] is None:
            run = _newest(required=not options.get("base"))
        call = StageCall(row, given["config"], run, chosen, options)
        preflight = not given.get("no_preflight")
        launch = prepare(
            LaunchRequest(call, given["runner"], preflight=preflight, pull=given["pull"])
        )
        if tensorboard:
            from sftplay.host.runs import tensorboard as board

            board.start_for(launch.resolved.settings, launch.resolved.runner.value)
        return launch.make_ready() or launch.run()

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
        **({"file": []} if raw_files else {}),
    }
    parameters += [
        Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, default=value)
        for key, value in common.items()
    ]
    body.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = doc
    help_texts = {option.key: _help(option) for option in offered} | {
        key: _COMMON["trained" if trained and key == "run" else key] for key in common
    }
    words = "file" if raw_files else None
    bare = [option.key for option in offered if option.bare]
    return task(name=name or stage, help=help_texts, iterable=["set_"], words=words, optional=bare)(
        body
    )


def one_or_list(words: Sequence[str]) -> str:
    """Return one text as it is, several as a list."""
    quoted = ", ".join(map(quote_yaml, words))
    return quoted if len(words) == 1 else f"[{quoted}]"


def _newest(*, required: bool) -> str | None:
    """Return the run that is meant where none is named.

    Args:
        required: without one nothing can be done; else None stands for "no run".

    Raises:
        NotFoundError: there is none (66).
    """
    from sftplay.host.runs import newest

    try:
        return newest.newest_finished().name
    except NotFoundError:
        if required:
            raise
        return None


def parse_options(options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a person gave, each with a value of its own type.

    Raises:
        UsageError: not a number, or none of the choices (2).
    """
    return {
        option.key: option.parse(given[option.key])
        for option in options
        if given.get(option.key) is not None
    }


def _parameter(option: Option, *, required: bool) -> Parameter:
    default = Parameter.empty if required else False if option.kind == "flag" else None
    return Parameter(option.key, Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _help(option: Option) -> str:
    return f"{option.help}: {', '.join(option.choices)}" if option.choices else option.help
