"""A stage that is no training, in a runner and a stack that are decided already."""

from __future__ import annotations

from sftplay.host.containers import runner as container_runner
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.local import runner as local_runner


def execute(launch: ResolvedLaunch, runner: str, stack: str) -> int:
    """Run the stage to its end, with this terminal. Returns its exit code.

    Args:
        runner: `docker`, `local` or `active`.

    Raises:
        SftplayError: no engine, no image, no environment (69).
    """
    device = launch.device() or ""
    if runner == "docker":
        return container_runner.run_stage(
            launch.engine(), launch.call, launch.job, launch.machine, stack, device
        )
    environment = launch.environment(runner, stack, launch.backend())
    return local_runner.run_stage(
        launch.call, environment, cores=launch.machine.cores, device=device
    )
