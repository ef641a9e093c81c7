"""Data stages run inside the test's own process: a second less each than the real command, for
everything but exit codes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from sftplay.cli import make_job
from sftplay.freshness import DataStamp, read_stamp
from sftplay.stages import BY_NAME, Job
from tests.data.models import CHATML, CHATML_NAMED, save_model
from tests.data.project import SPLITS, Project, jsonl


def with_model(
    project: Project,
    template: str | None = CHATML,
    named: dict[str, str] = CHATML_NAMED,
    specials: Iterable[str] = (),
) -> Project:
    """Give a project a model folder of its own and name it in the config."""
    save_model(project.folder / "model", template, named, specials)
    (project.folder / "config.yaml").write_text("model: {name: ./model}\n")
    return project


def put_rows(
    project: Project, rows: Iterable[dict[str, Any]], kind: str = "processed", split: str = "train"
) -> None:
    """Write processed rows by hand; the other splits are empty where they are not there."""
    folder = project.folder / "data" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        if name == split or not (folder / f"{name}.jsonl").exists():
            (folder / f"{name}.jsonl").write_bytes(jsonl(rows) if name == split else b"")


def row(*texts: str, system: str | None = None, row_id: str = "") -> dict[str, Any]:
    """A processed row: user, assistant, user, …"""
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(texts)
    ]
    return {
        "messages": messages,
        "id": row_id or hashlib.sha256(repr((system, texts)).encode()).hexdigest()[:16],
    }


def job(project: Project, *sets: str, **options: Any) -> Job:
    """A job as the command line makes it.

    Paths in it are relative: use it inside `contextlib.chdir(project.folder)`.
    """
    return make_job("config.yaml", None, sets, options)


def run(project: Project, stage: str, *sets: str, **options: Any) -> DataStamp:
    """Run a stage and give the stamp it left. Expected failures are raised."""
    with contextlib.chdir(project.folder):
        defaults = {option.key: option.default for option in BY_NAME[stage].options}
        import_module(BY_NAME[stage].module).run(job(project, *sets, **{**defaults, **options}))
        kinds = {
            "process": "processed",
            "style": "processed_with_style",
            "render": "rendered",
            "tokenize": "tokenized",
        }
        stamp = read_stamp(Path("data") / kinds[stage])
    assert stamp is not None
    return stamp


def render(project: Project, template: str, *rows: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Render these rows under a template by the real command: (what it printed, the first row)."""
    with_model(project, template)
    put_rows(project, rows)
    done = project.run("render")
    assert done.code == 0, done.said
    return done.said, project.rows("rendered")[0]


def stop_while_writing(project: Project, stage: str, pattern: str, stop: signal.Signals) -> None:
    """Start the real command, send it a signal once a file under data/ has grown, and check how it
    ends.
    """
    running = subprocess.Popen(
        project.argv(stage),
        cwd=project.folder,
        env=project.environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in (project.folder / "data").glob(pattern)):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, stop)  # as a terminal does: every process of the group gets it
    said = running.communicate(timeout=60)[1].decode()
    assert running.returncode == 128 + stop
    assert said.count("stopped by") == 1
    assert "Traceback" not in said


def edit_config(project: Project, text: str) -> None:
    """Add lines to the config."""
    path = project.folder / "config.yaml"
    path.write_text(path.read_text() + text)


def facts(project: Project, kind: str) -> dict[str, Any]:
    """Read the stamp in a data folder."""
    found: dict[str, Any] = json.loads(
        (project.folder / "data" / kind / "stamp.json").read_bytes()
    )["facts"]
    return found
