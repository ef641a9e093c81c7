"""Training on a CPU because there is no GPU: how long it will take, and a question where that is
more than a day.
"""

from __future__ import annotations

from sftplay import console
from sftplay.errors import MachineError
from sftplay.host.estimate.check import LONG_HOURS, show_amount
from sftplay.host.estimate.inputs import cpu_training_time
from sftplay.host.system.machine import Machine
from sftplay.host.ui import prompt
from sftplay.host.ui.format import show_duration
from sftplay.settings import Settings


def require_cpu_consent(settings: Settings, facts: Machine) -> None:
    """Say the estimate; above a day, ask, or refuse where nobody can be asked.

    Raises:
        MachineError: it would take too long, and nobody said that the CPU is meant (69).
    """
    time = cpu_training_time(settings, facts)
    if time is None:
        return
    said = show_amount(time, show_duration)
    console.info(f"no GPU here: training on the CPU takes {said}")
    if time.likely <= LONG_HOURS * 3600:
        return
    if prompt.can_ask() and prompt.ask_yes_no("Train on the CPU anyway?", default=False):
        return
    raise MachineError(
        f"training on this machine's CPU would take {said}",
        todo="--device cpu, if that is meant; or fewer steps (--set train.max_steps=…), or a machine with a GPU",
    )
