"""Containers of this project, whoever started them: a task, or docker compose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.cli import parse_call, resolve
from sftplay.errors import SftplayError
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.spec import project_of

_COMPOSE_FOLDER = "com.docker.compose.project.working_dir"
_STAGE = "sftplay.stage"


@dataclass(frozen=True)
class ProjectContainer:
    """A container of this project.

    Attributes:
        created: seconds since 1970.
        composed: docker compose started it, and knows nothing of launch records.
        ports: port inside → port on this machine.
    """

    id: str
    stage: str
    run: str
    stack: str
    created: float
    state: str
    composed: bool
    ports: Mapping[int, int]

    @property
    def runs(self) -> bool:
        return self.state == "running"


def find(engine: Engine, stage: str = "") -> list[ProjectContainer]:
    """List them, those that have ended too.

    Args:
        stage: only of this stage.
    """
    here = str(Path.cwd())
    with engine_errors("list containers"):
        wanted = f"{_STAGE}={stage}" if stage else _STAGE
        listed = engine.api.containers(all=True, filters={"label": wanted})
    return [_read(engine, one) for one in listed if is_of(one.get("Labels") or {}, here)]


def is_of(labels: Mapping[str, str], root: str) -> bool:
    """Return whether a container with these labels belongs to the project in `root`."""
    if _STAGE not in labels:
        return False
    composed_in = labels.get(_COMPOSE_FOLDER)
    return labels.get("sftplay.project") == project_of(root) or (
        composed_in is not None and os.path.realpath(composed_in) == os.path.realpath(root)
    )


def _read(engine: Engine, found: Mapping[str, Any]) -> ProjectContainer:
    labels = found["Labels"]
    composed = "sftplay.project" not in labels
    return ProjectContainer(
        id=found["Id"],
        stage=labels[_STAGE],
        run=_composed_run(engine, found["Id"]) if composed else labels.get("sftplay.run", ""),
        stack=labels.get("sftplay.stack", ""),
        created=found["Created"],
        state=found["State"],
        composed=composed,
        ports={
            port["PrivatePort"]: port["PublicPort"]
            for port in found.get("Ports") or ()
            if port.get("PublicPort")
        },
    )


def _composed_run(engine: Engine, container: str) -> str:
    """Return the run that a stage started by compose works on; empty where it works on none."""
    with engine_errors("look at a container"):
        config = engine.api.inspect_container(container)["Config"]
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return run_of(words)


def run_of(command: Sequence[str]) -> str:
    """Return the run that `python -m sftplay STAGE …` works on; empty where it works on none."""
    words = list(command)
    try:
        call = parse_call(words[words.index("sftplay") + 1 :])
        return resolve(call).run_name if call.stage.run else ""
    except (ValueError, SftplayError):  # another program, or a config that is gone
        return ""
