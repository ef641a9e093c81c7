"""`inv image.sbom`: a CycloneDX bill of materials of a stack, made from its lock by cyclonedx-py.

The same lock, the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from sftplay import __version__, console
from sftplay.errors import MachineError
from sftplay.files import write_text
from sftplay.host.containers import image_names
from sftplay.host.local import environments
from sftplay.host.system.checkout import CHECKOUT
from sftplay.places import output_file

_ABOUT = """\
[project]
name = "sftplay-{stack}"
version = "{version}"
description = "sftplay's {stack} stack"
license = "Apache-2.0"
"""


def write(stack: str, output: str | None = None) -> None:
    """Write the bill of materials as JSON, to `output` or stdout.

    Raises:
        UsageError: no such stack (2). MachineError: it could not be made (69).
    """
    lock = image_names.lock_of(image_names.current(stack).stack)
    text = bill(stack, CHECKOUT / lock)
    if output is None:
        console.result(text, end="")
        return
    write_text(output_file(output), text)
    packages = text.count('"purl"')
    console.success(f"{output}: {packages} packages of {lock}")


def bill(stack: str, lock: Path) -> str:
    """The bill of a lock: each package with version, package URL and hashes, and nothing of the
    moment or the machine.
    """
    tool = environments.ensure("dev").folder / "bin" / "cyclonedx-py"
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "SOURCE_DATE"))
    }
    with tempfile.TemporaryDirectory() as folder:
        about = (
            Path(folder) / "pyproject.toml"
        )  # what the bill is of; pyproject.toml itself takes its version from the code
        about.write_text(_ABOUT.format(stack=stack, version=__version__), encoding="utf-8")
        argv = [
            str(tool),
            "requirements",
            str(lock),
            "--pyproject",
            str(about),
            "--output-reproducible",
            "--of",
            "JSON",
        ]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(
            f"cyclonedx-py ended with {done.returncode}: {done.stderr.strip()[-300:]}",
            where=str(lock),
        )
    return done.stdout if done.stdout.endswith("\n") else f"{done.stdout}\n"
