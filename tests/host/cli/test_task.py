"""Tasks: paths are relative to the user's folder."""

from __future__ import annotations

import re
from pathlib import Path

from tests.host.conftest import RunTask


def test_paths_are_meant_from_where_the_person_stands(run_task: RunTask, checkout: Path) -> None:
    folder = checkout / "configs" / "mine"
    folder.mkdir()
    (folder / "my.yaml").write_text("lora: {r: 5}\n")
    end = run_task("config.show", "--config", "my.yaml", cwd=folder)
    assert re.search(r"^ +r: 5\b", end.stdout, flags=re.MULTILINE), end.stderr
    end = run_task("config.show", "--config", "configs/run_bnb.yaml", cwd=folder)
    assert end.returncode == 0, end.stderr
