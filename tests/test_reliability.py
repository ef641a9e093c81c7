"""The page about reliability names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from sftplay.host.dev import tools

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_fault_of_the_page_has_a_test_that_inv_test_faults_runs() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"`((tests/[\w/]+\.py)::(test_\w+))` \|$", row) for row in rows]
    assert len(rows) > 15 and all(named), [
        row for row, name in zip(rows, named, strict=True) if not name
    ]
    for found in named:
        assert found is not None
        tree = ast.parse((ROOT / found[2]).read_text(encoding="utf-8"))
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert found[3] in tests, found[0]
    assert set(tools.tests_of_faults()) == {found[1] for found in named if found}
