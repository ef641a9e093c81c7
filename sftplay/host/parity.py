"""`inv parity`: the same first steps in two stacks, compared."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sftplay import console, parity
from sftplay.cli import make_job, quote_yaml
from sftplay.errors import UsageError
from sftplay.host import envs, local, machine
from sftplay.host.local import Call
from sftplay.runs import Run
from sftplay.stages import BY_NAME

STACKS = ("bnb", "unsloth", "cpu")


def compare_stacks(stacks: str, *, steps: int, config: str | None, overrides: Sequence[str]) -> int:
    """Train `steps` steps in each stack, compare them, and write parity.json. Stacks run in environments of this machine.

    Args:
        stacks: two names with a comma between them; the same one twice shows how much one stack differs from itself.

    Returns:
        0, or the code of the training that failed.

    Raises:
        UsageError: not two known stacks (2). RefusedError: they do not train alike (76).
    """
    names = [name.strip() for name in stacks.split(",")]
    if len(names) != 2 or not set(names) <= set(STACKS):
        raise UsageError(f"--stacks wants two of {', '.join(STACKS)}, got {stacks!r}", todo="--stacks bnb,unsloth")
    if steps < 1:
        raise UsageError(f"--steps wants a number above 0, got {steps}")
    base = str(make_job(config, None, overrides, {}).settings.run.name)
    runs: list[Run] = []
    for number, stack in enumerate(names, start=1):
        name = f"{base[:40]}-parity-{number}-{stack}"
        run = Run(Run(name).free_name()) if Run(name).folder.exists() else Run(name)
        code = _train(stack, run, steps, config, overrides)
        if code:
            return code
        runs.append(run)
    path = parity.report(runs, {"stacks": names})
    console.success(f"{names[0]} and {names[1]} train alike over {steps} steps: {path}")
    code = 0
    for run, stack in zip(runs, names, strict=True):
        if stack == "unsloth":
            console.info("loading Unsloth's adapter with plain PEFT, in the bnb stack")
            code = code or _stage(Call(BY_NAME["eval"], None, run.name, options=("--portable",)), "bnb")
    return code


def _train(stack: str, run: Run, steps: int, config: str | None, overrides: Sequence[str]) -> int:
    backend = "unsloth" if stack == "unsloth" else "bnb"
    fixed = (
        f"backend={backend}", f"train.max_steps={steps}", "train.logging_steps=1", f"train.save_steps={steps}",
        "backend_fallback.enabled=false",
    )  # fmt: skip
    return _stage(Call(BY_NAME["train"], config, run.name, (*overrides, *fixed)), stack)


def _stage(call: Call, stack: str) -> int:
    environment = envs.ensure(stack)
    console.info(f"{call.stage.name} in the {stack} stack: {quote_yaml(str(call.run))}")
    env = local.stage_environ(call.stage, environment, os.environ, cores=machine.look().cores)
    code = local.run_foreground([str(environment.python), "-m", "sftplay", *call.argv], env)
    local.explain_end(call.stage.name, code)
    return code
