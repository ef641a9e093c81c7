"""How long a person waits before anything happens: `inv bench start`."""

from __future__ import annotations

import sys
from pathlib import Path

from bench._measure import ROOT, best_of, stage, table

IMPORTED = "import sys, sftplay.cli; sftplay.cli.main(['process', '--help']) if 0 else sftplay.cli.build_parser(); print('torch' in sys.modules)"


def main() -> int:
    invoke = Path(sys.executable).parent / "invoke"
    listing = best_of(5, [str(invoke), "--list"], ROOT)
    helped = best_of(5, stage("process", "--help"), ROOT)
    torch = best_of(1, [sys.executable, "-c", IMPORTED], ROOT)
    version = best_of(3, ["python3", "tasks.py", "--version"], ROOT)
    table(
        "start",
        [
            ("inv --list", f"{listing.seconds:.2f} s", "under 0.4 s"),
            ("python -m sftplay process --help", f"{helped.seconds:.2f} s", f"torch imported: {torch.said.strip()}"),
            (
                "python3 tasks.py --version, set-up done",
                f"{version.seconds:.2f} s",
                "set-up seen to be done in under 0.3 s",
            ),
        ],
    )
    return max(listing.code, helped.code)


if __name__ == "__main__":
    sys.exit(main())
