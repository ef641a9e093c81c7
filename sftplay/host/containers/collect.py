"""Ended containers of trainings: output saved, end recorded, container removed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sftplay.errors import SftplayError
from sftplay.files import atomic_open
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.lifecycle import ContainerEnd
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Exit, Start
from sftplay.runs import Run


def collect(engine: Engine, run: Run, start: Start, container: str, end: ContainerEnd) -> Exit:
    """Write the container's output and end to disk. Only then it may be removed."""
    before = records.read_exit(run.launch, start)
    if before is not None:
        return before
    _save_output(engine, container, records.output_file(run.launch, start.number))
    asked = records.read_asked(run.launch, start.number)
    return records.write_exit(run.launch, start, code=end.code, asked=asked, oom=end.oom)


def _save_output(engine: Engine, container: str, path: Path) -> None:
    import docker.errors
    import requests

    # Without it the attempt's train.log holds the stage's own lines.
    with (
        contextlib.suppress(docker.errors.DockerException, requests.RequestException, SftplayError),
        atomic_open(path) as out,
    ):
        out.writelines(engine.api.logs(container, stream=True, follow=False))


def vanished(run: Run, start: Start) -> Exit:
    """Record the end of a training whose container is gone: its exit code is not known."""
    asked = records.read_asked(run.launch, start.number)
    return records.write_exit(run.launch, start, code=None, asked=asked)
