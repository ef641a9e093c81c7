"""The guided first run: from an empty folder to a tuned model, each step with the command that does
it alone.

Asks only where somebody can answer, and every question has a default. A step that fails ends it
with that step's code; started again, it looks at what is there: an interrupted run continues, a
finished one on the same data is shown again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sftplay import console
from sftplay.cli import make_job
from sftplay.errors import StorageError
from sftplay.files import human_size
from sftplay.host.containers import folders
from sftplay.host.quickstart import steps
from sftplay.host.quickstart.result_check import check_result
from sftplay.host.quickstart.session import (
    GuidedSession,
    SessionEnded,
    print_heading,
    run_step,
)
from sftplay.host.runs import samples
from sftplay.host.system import machine
from sftplay.host.system.checkout import VENV
from sftplay.host.ui import prompt
from sftplay.host.ui.format import show_duration

CONFIG = "configs/quickstart.yaml"
# bytes other than the environment: the model in the cache, the data, the run
NEEDED_DISK = 500_000_000


def run(
    *,
    yes: bool = False,
    config: str | None = None,
    style: str | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Walk through all steps.

    Args:
        yes: ask nothing, take the defaults.
        style: style prompt; default: what the person says, else the one that the data has, else the
            config's.

    Returns:
        0, or the exit code of the step that failed.
    """
    began = time.monotonic()
    asking = not yes and prompt.can_ask()
    try:
        session = _folder(config or CONFIG, tuple(overrides), style, asking=asking)
        steps.environment(session)
        steps.data(session)
        run_step(
            session.call("process"), 4, "read the data, check it, split it into train, val and test"
        )
        styled = steps.style(session)
        steps.render(session, styled)
        target = steps.train(session)
        steps.evaluate(session, target)
    except SessionEnded as end:
        return end.code
    samples.show(target, session.settings)
    for finding in check_result(target, only_sample=steps.only_sample(session)):
        console.warning(finding)
    console.success(
        f"done in {show_duration(time.monotonic() - began)}: the run is in {target.folder}"
    )
    steps.next_steps(target, styled.prompt)
    return 0


def _folder(
    config: str, overrides: tuple[str, ...], style: str | None, *, asking: bool
) -> GuidedSession:
    """Step 1: config, machine, free space, folders."""
    print_heading(1, "check the folder", "inv setup-dirs")
    if Path(sys.prefix) == VENV:
        console.info("`inv NAME` is .venv/bin/inv; `python3 tasks.py NAME` does the same")
    settings = make_job(config, None, overrides, {}).settings
    facts = machine.read_machine()
    machine.require_supported(facts)
    gpu = facts.nvidia[0] if facts.has_gpu else "no GPU"
    console.info(
        f"{facts.cores} cores, {human_size(facts.memory)} memory, {gpu}, {human_size(facts.free_disk)} free"
    )
    if facts.free_disk < NEEDED_DISK:
        raise StorageError(
            f"the disk is nearly full: {human_size(facts.free_disk)} free, {human_size(NEEDED_DISK)} wanted",
            todo="free some space, then start quickstart again",
        )
    folders.setup()
    return GuidedSession(config, overrides, settings, facts, asking, style)
