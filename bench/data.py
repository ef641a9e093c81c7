"""The data stages on GSM8K's size: `inv bench data [--args='FILE.jsonl']`. Without a file, rows of the same shape are made."""

from __future__ import annotations

import sys

from bench._measure import measure, project_with, stage, table

TOGETHER = ("process", "style", "render")
STYLE = ("--style", "Show each step, then the result.")


def main(argv: list[str]) -> int:
    with project_with(argv, 7_473) as project:
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
