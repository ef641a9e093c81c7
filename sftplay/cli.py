"""`python -m sftplay STAGE --config FILE [--set k=v]…`: the same argv in every runner.

The one place that catches.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sftplay import __version__, console
from sftplay.boundary import Boundary
from sftplay.call import StageCall
from sftplay.collector import loading
from sftplay.environment import drop_training_settings
from sftplay.errors import EXIT_MEANINGS, NotFoundError, UsageError
from sftplay.places import OUTPUTS
from sftplay.stages import BY_NAME, STAGES, Job, Option
from sftplay.stops import raise_if_stopped, raise_swallowed_again, stop

DEFAULT_CONFIG = "configs/run_bnb.yaml"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, todo=f"{self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The command line, made from the stage table."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items())
    parser = _Parser(
        prog="python -m sftplay",
        description="Run one stage in this environment.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sftplay {__version__}")
    commands = parser.add_subparsers(
        dest="stage", metavar="STAGE", required=True, parser_class=_Parser
    )
    for stage in STAGES:
        command = commands.add_parser(
            stage.name, help=stage.help, description=f"{stage.help} → {stage.writes}"
        )
        command.add_argument(
            "--config",
            metavar="FILE",
            help=f"config file (default: the run's own with --run, else {DEFAULT_CONFIG})",
        )
        command.add_argument(
            "--run",
            metavar="NAME",
            help="run in outputs/ (default: the config's run.name, else its file stem)",
        )
        command.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            dest="overrides",
            help="change one config value; may be repeated",
        )
        for option in stage.options:
            _add_option(command, option)
    return parser


def _add_option(command: argparse.ArgumentParser, option: Option) -> None:
    if option.kind == "flag":
        command.add_argument(option.name, action="store_true", help=option.help, dest=option.key)
    else:
        metavar = None if option.choices else option.key.upper()
        kind: Any = os.path.expanduser if option.path else option.kind
        command.add_argument(
            option.name,
            type=kind,
            choices=option.choices or None,
            default=option.default,
            metavar=metavar,
            help=option.help,
            dest=option.key,
            nargs="?" if option.bare else None,
            const=option.bare or None,
        )


def parse_call(argv: Sequence[str]) -> StageCall:
    """Read back a command line that `StageCall.argv` made, or a person typed.

    Raises:
        UsageError: no such stage, option or value (2).
    """
    args = build_parser().parse_args(argv)
    stage = BY_NAME[args.stage]
    options = {option.key: getattr(args, option.key) for option in stage.options}
    return StageCall(stage, args.config, args.run, tuple(args.overrides), options)


def parse_job(argv: Sequence[str]) -> tuple[str, Job]:
    """Turn argv into stage name and job.

    Raises:
        UsageError, ConfigError, NotFoundError: the command line, the config, or its file.
    """
    call = parse_call(argv)
    return call.stage.name, resolve(call)


def resolve(call: StageCall) -> Job:
    """Return the job of a call: its config read, its overrides applied.

    Raises:
        ConfigError, NotFoundError: the config, or its file.
    """
    return make_job(call.config, call.run, call.overrides, call.all_options)


def make_job(
    config: str | None, run: str | None, overrides: Sequence[str], options: dict[str, Any]
) -> Job:
    """Resolve config file, run name and `--set` values into a job. The host uses it too."""
    from sftplay.config import load_config  # pydantic takes 0.2 s: not for --help

    overrides = list(overrides)
    if run is not None:
        overrides.append(f"run.name={quote_yaml(run)}")
    path = (
        Path(config)
        if config
        else OUTPUTS / run / "config.yaml"
        if run and _is_name(run) and (OUTPUTS / run / "config.yaml").is_file()
        else Path(DEFAULT_CONFIG)
    )
    if not path.is_file():
        raise NotFoundError(
            "no such config file",
            where=str(path),
            todo="pass --config FILE; examples are in configs/",
        )
    return Job(
        settings=load_config(path, overrides),
        config_file=path,
        overrides=tuple(overrides),
        options=options,
    )


def quote_yaml(text: str) -> str:
    """A word for `--set` that YAML reads back as text, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"


def _is_name(run: str) -> bool:
    return "/" not in run and run not in ("", ".", "..")


def main(argv: Sequence[str]) -> int:
    """Run one stage and return its exit code. Every failure ends here as one message."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, stop)
    raise_swallowed_again()
    console.open_streams()
    with Boundary("") as end:
        drop_training_settings(os.environ)
        call = parse_call(argv)
        end.name, end.config = call.stage.name, call.config
        job = resolve(call)
        with loading():
            module = importlib.import_module(call.stage.module)
            raise_if_stopped()
            module.run(job)
        # a closed pipe is caught here; in Python's own last flush it would end in 120
        console.flush_results()
    console.settle_stderr()
    return end.code


__all__ = [
    "DEFAULT_CONFIG",
    "build_parser",
    "main",
    "make_job",
    "parse_call",
    "parse_job",
    "quote_yaml",
    "resolve",
]
