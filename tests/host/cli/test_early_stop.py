"""Ctrl-C before a task has begun: one line and 130, never a traceback or 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Python imports this by itself; the signal comes at the first look for a module.
_AT_IMPORT = """
import os, signal, sys
class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Look())
"""


@pytest.mark.parametrize(
    "module",
    [
        "sftplay.host.cli.menu",  # the menu itself
        "sftplay.host.cli.tasks.runs",  # its tasks
        "sftplay.host.cli.program",
        "sftplay.host.runs.table",  # what a task imports when it runs
    ],
)
def test_ctrl_c_while_the_menu_is_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_AT_IMPORT.format(module=module))
    ran = subprocess.run(
        [sys.executable, "-m", "sftplay.host.cli", "runs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 130, ran.stderr
    assert "stopped" in ran.stderr and "Traceback" not in ran.stderr


def test_ctrl_c_while_invoke_reads_the_command_line() -> None:
    from invoke.collection import Collection

    from sftplay.host.cli.program import Menu

    class Stopped(Menu):
        def parse_core_args(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        Stopped(namespace=Collection()).run(["inv", "runs"])
    assert end.value.code == 130
