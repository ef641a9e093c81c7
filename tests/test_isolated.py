"""Programs of sftplay import Python's own modules, whatever lies in the folders around them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sftplay import isolated

SHOWS = "import json, sys\nprint(json.__file__, sys.argv[1:], sys.path[-1])\n"


def test_nothing_in_the_folder_or_on_pythonpath_hides_pythons_own(tmp_path: Path) -> None:
    package = tmp_path / "sftplay"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shows.py").write_text(SHOWS)
    shutil.copy(isolated.__file__, package)
    for folder in (tmp_path, package):
        (folder / "json.py").write_text("raise SystemExit('hostile')")
    program = [sys.executable, str(package / "isolated.py"), "sftplay.shows", "a", "--b"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.check_output(program, cwd=tmp_path, env=env, text=True)
    assert str(tmp_path) not in said.split()[0]
    assert said.strip().endswith(f"['a', '--b'] {tmp_path}")


def test_the_command_is_this_file_in_a_python() -> None:
    assert isolated.command("sftplay.cli", "python") == ["python", isolated.__file__, "sftplay.cli"]
