"""`inv parity`: the same first steps in two stacks, or in two runners, compared."""

from __future__ import annotations

from collections.abc import Sequence

from sftplay import console, parity
from sftplay.call import StageCall
from sftplay.cli import make_job, quote_yaml
from sftplay.errors import UsageError
from sftplay.host.containers.ownership import hand_to_owner
from sftplay.host.launch.execute import execute
from sftplay.host.launch.request import LaunchRequest, resolve
from sftplay.host.local import environments
from sftplay.host.local import runner as local_runner
from sftplay.host.system.machine import read_machine
from sftplay.runs import Run
from sftplay.stages import BY_NAME

STACKS = ("bnb", "unsloth", "cpu")
RUNNERS = ("local", "docker")


def compare_stacks(
    stacks: str, *, steps: int, config: str | None, overrides: Sequence[str], runners: str = "local"
) -> int:
    """Train `steps` steps in each stack, compare them, and write parity.json.

    Args:
        stacks: two names with a comma between them; the same one twice shows how much one stack
            differs from itself.
        runners: `local` (environments of this machine) or `docker` (images), for both; or one for
            each, with a comma.

    Returns:
        0, or the code of the training that failed.

    Raises:
        UsageError: not two known stacks, or no such runner (2). MachineError: no engine, or no
            image (69).
        RefusedError: they do not train alike (76).
    """
    names = [name.strip() for name in stacks.split(",")]
    if len(names) != 2 or not set(names) <= set(STACKS):
        raise UsageError(
            f"--stacks requires two of {', '.join(STACKS)}, got {stacks!r}",
            todo="--stacks bnb,unsloth",
        )
    places = [name.strip() for name in runners.split(",")]
    places = places * 2 if len(places) == 1 else places
    if len(places) != 2 or not set(places) <= set(RUNNERS):
        raise UsageError(
            f"--runner requires {' or '.join(RUNNERS)}, or one for each stack, got {runners!r}",
            todo="--stacks cpu,cpu --runner local,docker",
        )
    if steps < 1:
        raise UsageError(f"--steps requires a number above 0, got {steps}")
    base = str(make_job(config, None, overrides, {}).settings.run.name)
    runs: list[Run] = []
    for number, (stack, place) in enumerate(zip(names, places, strict=True), start=1):
        name = f"{base[:40]}-parity-{number}-{stack}"
        run = Run(Run(name).free_name()) if Run(name).folder.exists() else Run(name)
        code = _train(stack, place, run, steps, config, overrides)
        if code:
            return code
        runs.append(run)
    path = parity.report(runs, {"stacks": names, "runners": places})
    one, other = (f"{stack} ({place})" for stack, place in zip(names, places, strict=True))
    console.success(f"{one} and {other} train alike over {steps} steps: {path}")
    code = 0
    for run, stack, place in zip(runs, names, places, strict=True):
        if stack == "unsloth":
            console.info("loading Unsloth's adapter with plain PEFT, in the bnb stack")
            code = code or _run_stage(
                StageCall(BY_NAME["eval"], None, run.name, options={"portable": True}), "bnb", place
            )
    return code


def _train(
    stack: str, runner: str, run: Run, steps: int, config: str | None, overrides: Sequence[str]
) -> int:
    backend = "unsloth" if stack == "unsloth" else "bnb"
    fixed = (
        f"backend={backend}", f"train.max_steps={steps}", "train.logging_steps=1", f"train.save_steps={steps}",
        "backend_fallback.enabled=false",
    )  # fmt: skip
    return _run_stage(
        StageCall(BY_NAME["train"], config, run.name, (*overrides, *fixed)), stack, runner
    )


def _run_stage(call: StageCall, stack: str, runner: str) -> int:
    """Run a stage in this very stack, whatever the machine would choose. Returns its exit code."""
    where = f"the image of the {stack} stack" if runner == "docker" else f"the {stack} stack"
    console.info(f"{call.stage.name} in {where}: {quote_yaml(str(call.run))}")
    if runner == "local":
        environment = environments.ensure(stack)
        return local_runner.run_stage(call, environment, cores=read_machine().cores)
    try:
        return execute(resolve(LaunchRequest(call, "local")), runner, stack)
    finally:
        hand_to_owner(Run(str(call.run)).folder)
