"""One step in its own process: `python -m sftplay.model.acceptance.process STEP DEVICE OUT`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from sftplay.model.acceptance.context import Context
from sftplay.model.acceptance.steps import BY_NAME


def main(name: str, device: str, out: str) -> int:
    """Run the step; what it found is in `out`. Returns 0 unless it failed as a whole."""
    from sftplay.model.runtime.quiet import quiet_libraries

    quiet_libraries()
    step = BY_NAME[name]
    getattr(importlib.import_module(step.module), step.function)(Context(device, Path(out)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
