"""The data stages on GSM8K's size: `inv bench data [--args='FILE.jsonl']`. Without a file, rows of the same shape are made."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bench._measure import ROOT, measure, stage, table, write_rows

TOGETHER = ("process", "style", "render")
STYLE = ("--style", "Show each step, then the result.")


def main(argv: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "data" / "raw").mkdir(parents=True)
        shutil.copytree(ROOT / "configs", project / "configs")
        if argv:
            shutil.copy(argv[0], project / "data" / "raw")
        else:
            write_rows(project / "data" / "raw" / "rows.jsonl", 7_473)
        measure(stage("fetch"), project)
        rows, together, code = [], 0.0, 0
        for name_of_stage in (*TOGETHER, "tokenize"):
            cost = measure(stage(name_of_stage, *(STYLE if name_of_stage == "style" else ())), project)
            together += cost.seconds if name_of_stage in TOGETHER else 0.0
            code = max(code, cost.code)
            rows.append((name_of_stage, f"{cost.seconds:.2f} s", f"{cost.peak_mb:.0f} MB (goal: 300 MB)"))
        rows.append(("process + style + render", f"{together:.2f} s", "goal: 3 s"))
        table("data stages as whole processes, Python's start included", rows)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
