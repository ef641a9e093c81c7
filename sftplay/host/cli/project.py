"""`sftplay init DIR`: a project folder of one's own, outside sftplay's checkout.

It holds what a person edits (configs, data, outputs, compose.yaml) and a tasks.py that starts the
installed sftplay. Code, locks and the Dockerfile stay with the installation.
"""

from __future__ import annotations

import os
from pathlib import Path

from sftplay import console
from sftplay.errors import StorageError, UsageError
from sftplay.files import explain_os_error, write_text
from sftplay.host.containers import folders
from sftplay.host.system.checkout import CHECKOUT, PROJECT_VARIABLE

_COPIED = ("configs/*.yaml", "compose.yaml", "compose.cpu.yaml", "compose.setup.yaml")
_TASKS = f'''"""sftplay's tasks for this folder: `inv NAME`, `sftplay NAME` or `python3 tasks.py NAME`."""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["{PROJECT_VARIABLE}"] = _HERE
# This folder is not searched for modules: a json.py of yours must not hide Python's own.
_REAL = os.path.realpath(_HERE)
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != _REAL]
try:
    from sftplay.host.cli.menu import namespace
    from sftplay.host.cli.program import adopt, main
    from sftplay.host.system.interpreter import start_unchanged
except ModuleNotFoundError as missing:
    sys.stderr.write(f"{{missing}} in {{sys.executable}}: activate the environment that sftplay is in\\n")
    sys.exit(69)

if __name__ == "__main__":
    start_unchanged()
    sys.exit(main(sys.argv, namespace))
adopt()
'''
_IGNORED = """/.envs/
/.env
/data/*/*
!/data/*/.gitkeep
/data/processed_*/
/data/rendered_*/
/data/tokenized_*/
/outputs/*
!/outputs/.gitkeep
.tmp-*
"""


def init(name: str | None) -> int:
    """Make the folder, or add what is missing: a file that is there is kept, and said.

    Raises:
        UsageError: no name (2). StorageError: a file is in the way, or no room (74).
        PermissionDeniedError: not writable (77).
    """
    if not name:
        raise UsageError("init requires the name of a folder", todo="sftplay init my-project")
    folder = Path(name).expanduser().absolute()
    if folder.is_relative_to(CHECKOUT):
        raise UsageError(
            "this folder lies in sftplay's own files, which are a project already",
            where=str(folder),
            todo="name a folder elsewhere",
        )
    if folder.exists() and not folder.is_dir():
        raise StorageError("a file has this name", where=str(folder), todo="choose another name")
    try:
        kept = _write(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    os.chdir(folder)
    folders.setup()
    for path in kept:
        console.info(f"kept: {path} (it differs from this version's)")
    console.success(f"a project: {folder}")
    if (CHECKOUT / "pyproject.toml").is_file():  # its .venv has no `sftplay` to work there with
        console.info(f"first, in a Python environment of your own: pip install {CHECKOUT}")
    console.info(f"next: cd {name}, then sftplay quickstart (or put your files into data/raw)")
    return 0


def _write(folder: Path) -> list[str]:
    """Write the project's files. Returns those that are there with another content."""
    texts = {"tasks.py": _TASKS, ".gitignore": _IGNORED}
    for pattern in _COPIED:
        for source in sorted(CHECKOUT.glob(pattern)):
            texts[str(source.relative_to(CHECKOUT))] = source.read_text(encoding="utf-8")
    kept = []
    for name, text in texts.items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        elif path.read_text(encoding="utf-8", errors="replace") != text:
            kept.append(name)
    return kept
