"""Start here: set-up, the guided first run, a look at the machine and at a training before it
starts.
"""

from __future__ import annotations

from invoke.context import Context

from sftplay.call import StageCall
from sftplay.host.cli.task import only, task
from sftplay.stages import BY_NAME


@task(
    help={
        "yes": "ask nothing, take the defaults",
        "config": "config file (default: configs/quickstart.yaml)",
        "style": "a style prompt for every answer",
        "set": "change one config value; may be repeated",
    },
    iterable=["set_"],
)
def quickstart(
    c: Context,
    yes: bool = False,
    config: str | None = None,
    style: str | None = None,
    set_: list[str] | None = None,
) -> int:
    """From nothing to a tuned model: guided, every step explained."""
    from sftplay.host.quickstart import command as guided

    return guided.run(yes=yes, config=config, style=style, overrides=set_ or ())


@task(
    help={
        "runner": "the runner you want to use: auto, docker, local or active",
        "json": "for programs",
        "shared": "prove that two machines share this folder: run it on both at the same time",
    }
)
def doctor(c: Context, runner: str = "auto", json: bool = False, shared: bool = False) -> int:
    """Check the machine: GPU, engine, disk, folders; what is missing, and what would run where."""
    from sftplay.host.doctor import report
    from sftplay.host.doctor import shared as shared_folder

    if shared:
        return shared_folder.run()
    return report.run(runner=runner, as_json=json)


@task(help={"dev": "the developer tools too (for test, lint and bench)"})
def install(c: Context, dev: bool = False) -> None:
    """Make the environments that stages run in (their first start would make them too)."""
    from sftplay.host.local import environments

    environments.install(dev=dev)


@task(anywhere=True, words="folder", help={"folder": "a new folder, or one to complete"})
def init(c: Context, folder: list[str] | None = None) -> int:
    """Make a project folder: tasks.py, configs, data, outputs, compose.yaml."""
    from sftplay.host.cli import project

    return project.init(only(folder or ()))


@task()
def setup_dirs(c: Context) -> None:
    """Make data/ and outputs/ with their folders."""
    from sftplay.host.containers import folders

    folders.setup()


@task(
    help={
        "config": "config file (default: configs/run_bnb.yaml)",
        "run": "name of the run (default: the config's)",
        "set": "change one value for this look, as in --set train.batch_size=8; may be repeated",
        "resume": "check the resume of a run that was stopped",
        "numerics": "instead: train each method and precision next to plain PyTorch on this machine (seconds)",
        "runner": "where --numerics runs: auto, docker, local or active",
    },
    iterable=["set_"],
)
def check(
    c: Context,
    config: str | None = None,
    run: str | None = None,
    set_: list[str] | None = None,
    resume: bool = False,
    numerics: bool = False,
    runner: str = "auto",
) -> int:
    """Check config, data and machine before training: will it fit, and how long will it take?"""
    if numerics:
        from sftplay.host.launch.request import LaunchRequest
        from sftplay.host.launch.stage import start

        return start(
            LaunchRequest(StageCall(BY_NAME["numerics"], config, run, tuple(set_ or ())), runner)
        )
    from sftplay.host.estimate.check import check as check_training

    return check_training(config=config, run=run, overrides=set_ or (), resume=resume)


@task(
    help={
        "runs": "outputs/ too: every run with its weights",
        "envs": "the environments in .envs/",
        "yes": "do not ask",
    }
)
def clean(c: Context, runs: bool = False, envs: bool = False, yes: bool = False) -> int:
    """Remove generated data; shows sizes and asks first. Never data/raw."""
    from sftplay.host.runs import clean as cleaning

    return cleaning.run(runs=runs, envs=envs, yes=yes)
