"""uv, which makes every environment: where it is, and how it finds packages where pip does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from sftplay.environment import TOKENS
from sftplay.errors import MachineError
from sftplay.host.system.checkout import VENV


def find_uv() -> Path:
    """The uv that the set-up installed, else one that the person has."""
    for folder in (VENV / "bin", Path(sys.executable).parent):
        if (folder / "uv").is_file():
            return folder / "uv"
    import shutil

    found = shutil.which("uv")
    if found is None:
        raise MachineError("uv is missing", todo="python3 tasks.py install")
    return Path(found)


def uv_environ(base: Mapping[str, str], *, cuda: bool = False) -> tuple[dict[str, str], list[str]]:
    """Environment and options with which uv finds packages where pip does.

    uv does not read PIP_FIND_LINKS. CPU torch comes from a folder that is named there, else from
    PyTorch's own CPU index.

    Args:
        cuda: for a stack whose torch comes from PyPI. To uv `torch==2.13.0` means 2.13.0+cpu too
            where a folder has one,
            so a folder that has one is left out.

    Returns:
        (environment variables, options that commands about the torch stacks need).
    """
    env = {key: value for key, value in base.items() if key not in TOKENS}
    folders = (
        base.get("UV_FIND_LINKS", "").replace(",", " ").split()
        or base.get("PIP_FIND_LINKS", "").split()
    )
    with_torch = [folder for folder in folders if any(Path(folder).glob("torch-*+cpu-*.whl"))]
    taken = [folder for folder in folders if not (cuda and folder in with_torch)]
    env.pop("UV_FIND_LINKS", None)
    if taken:
        env["UV_FIND_LINKS"] = ",".join(taken)
    return env, [] if cuda or with_torch else ["--torch-backend", "cpu"]
