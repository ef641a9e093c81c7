"""A stage from its request to its exit code."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sftplay import console
from sftplay.call import StageCall
from sftplay.cli import resolve as resolve_job
from sftplay.host.launch.execute import execute
from sftplay.host.launch.prefetch import fetch_missing
from sftplay.host.launch.request import LaunchRequest, ResolvedLaunch, announce, resolve
from sftplay.host.launch.training import TrainingLaunch
from sftplay.host.local import environments
from sftplay.stages import BY_NAME


@dataclass(frozen=True)
class StageLaunch:
    """A stage that is no training, ready to run."""

    resolved: ResolvedLaunch

    def make_ready(self) -> int:
        """Fetch what is missing. Returns the exit code of the fetch."""
        return fetch_missing(self.resolved)

    def run(self) -> int:
        """Run it to its end. Returns its exit code."""
        runner = self.resolved.runner
        docker = runner.value == "docker"
        stack = self.resolved.stack(
            self.resolved.images.present if docker else environments.present()
        )
        announce(self.resolved.call, runner, stack)
        return execute(self.resolved, runner.value, stack.value)


def prepare(request: LaunchRequest) -> StageLaunch | TrainingLaunch:
    """Return the finished launch: nothing is installed, fetched or written yet. `make_ready`, then
    `run`.

    Raises:
        SftplayError: what is wrong before the stage could start: usage (2), config (78), machine
            (69).
    """
    resolved = resolve(request)
    # the launcher of machine 0 owns the run's records; the other machines only bring their ranks
    leads = request.call.stage.name == "train" and not request.call.options.get("node_rank")
    return TrainingLaunch(resolved) if leads else StageLaunch(resolved)


def start(request: LaunchRequest) -> int:
    """Run a stage to its end.

    Returns:
        Its exit code (design section 5), 128 + signal where one ended it.

    Raises:
        SftplayError: as `prepare`.
    """
    launch = prepare(request)
    return launch.make_ready() or launch.run()


def start_pipeline(request: LaunchRequest, style: str | None = None) -> int:
    """Run process, style (skipped where there is no style prompt) and render; the first code that
    is not 0 ends it.

    Args:
        request: for `process`.
    """
    call = request.call
    calls = [call, StageCall(BY_NAME["render"], call.config, call.run, call.overrides)]
    if style is not None or resolve_job(call).settings.style.prompt:
        calls.insert(
            1, StageCall(BY_NAME["style"], call.config, call.run, call.overrides, {"style": style})
        )
    else:
        console.info(
            "style: skipped, there is no style prompt (--style, or style.prompt in the config)"
        )
    for one in calls:
        code = start(replace(request, call=one))
        if code:
            return code
    return 0
