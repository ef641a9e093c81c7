"""`inv audit`: every lock against the published vulnerabilities of its packages, by pip-audit.

Nothing of a lock is installed. The database is PyPI's; where it can't be reached, that is printed
and is no failure: nothing was found out.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.environment import compose
from sftplay.host.dev.lockfiles import LOCKS
from sftplay.host.local import environments
from sftplay.host.system.checkout import CHECKOUT

_OPTIONS = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def run(names: Sequence[str] = ()) -> int:
    """Audit the named locks, default: all. Returns 1 if a package has a known vulnerability.

    Raises:
        MachineError: pip-audit's environment can't be made (69).
    """
    program = environments.ensure("audit").folder / "bin" / "pip-audit"
    found = 0
    for name in names or LOCKS:
        lock = LOCKS[name].target
        packages, reason = _audit(program, CHECKOUT / lock)
        if packages is None:
            console.warning(f"{lock}: not audited: {reason}")
            continue
        vulnerable = list(_vulnerable(packages))
        found += len(vulnerable)
        for line in vulnerable:
            console.error(f"{lock}: {line}")
        if not vulnerable:
            console.success(f"{lock}: no known vulnerability in {len(packages)} packages")
    return 1 if found else 0


def _audit(program: Path, lock: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """Return what pip-audit reports of each package; None and the reason if it could not ask."""
    argv = [str(program), *_OPTIONS, "--requirement", str(lock)]
    env = compose(os.environ, network=True)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    try:
        return list(json.loads(done.stdout)["dependencies"]), ""
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return None, lines[-1][:300] if lines else f"pip-audit ended with {done.returncode}"


def _vulnerable(packages: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {entry['id']}"
        f" (fixed in {', '.join(entry['fix_versions']) or 'no version yet'})"
        for package in packages
        for entry in package.get("vulns", ())
    ]
