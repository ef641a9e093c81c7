"""trackio's store, read without sftplay: by SQLite, and by trackio's own command."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sftplay.host.local import environments

STORE = Path("outputs/.trackio")
Curves = dict[str, dict[int, dict[str, Any]]]


def stored() -> Curves:
    """Run as it is named on the page → step → metrics. Fails where a step is there twice."""
    base = sqlite3.connect(STORE / "sftplay.db")
    try:
        rows = base.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    finally:
        base.close()
    found: Curves = {}
    for name, step, metrics in rows:
        assert step not in found.setdefault(name, {}), (name, step)
        found[name][step] = json.loads(metrics)
    return found


def expected(steps: Path) -> dict[int, dict[str, float]]:
    """Step → metrics of a steps.jsonl in which a start that resumes repeats steps."""
    names = {"eval_loss": "eval/loss"}
    found: dict[int, dict[str, float]] = {}
    last = 0
    for line in steps.read_text().splitlines():
        try:
            point = json.loads(line)
        except ValueError:
            continue
        step = point.pop("step")
        if step < last:
            found = {other: point for other, point in found.items() if other < step}
        last = step
        point.pop("time", None)
        found.setdefault(step, {}).update(
            {
                names.get(key, f"train/{key}"): value
                for key, value in point.items()
                if value is not None
            }
        )
    return found


def until(wanted: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until it is so; fails where it does not become so."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, stored()
        time.sleep(0.1)


def by_trackio(*words: str) -> Any:
    """What trackio's own command reads from the store, as JSON."""
    command = environments.ensure("trackio").python.parent / "trackio"
    done = subprocess.run(
        [command, *words, "--project", "sftplay", "--json"],
        env={**os.environ, "TRACKIO_DIR": str(STORE), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
