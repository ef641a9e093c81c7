"""A run's config.yaml: the settings that its newest start goes by, itself runnable."""

from __future__ import annotations

import json

from sftplay import console
from sftplay.config import dump_config, flatten, load_config
from sftplay.errors import SftplayError
from sftplay.files import write_text
from sftplay.runs import Run
from sftplay.settings import Settings


def write_config(run: Run, settings: Settings) -> None:
    """Write the resolved settings."""
    header = f"# python3 tasks.py train --config {run.config} --resume\n"
    write_text(run.config, header + dump_config(settings))


def update_config(run: Run, settings: Settings) -> list[str]:
    """Let the file say what a resumed training goes by; return what changed, in words.

    A file that can't be read is written anew.
    """
    now = flatten(settings)
    try:
        before = flatten(load_config(run.config))
    except SftplayError as error:
        changed = [f"it could not be read ({error.what})"]
    else:
        changed = [
            f"{key} {json.dumps(before.get(key))} → {json.dumps(value)}"
            for key, value in now.items()
            if before.get(key) != value
        ]
    if changed:
        write_config(run, settings)
        console.info(f"{run.config} goes by this start now: {', '.join(changed)}")
    return changed
