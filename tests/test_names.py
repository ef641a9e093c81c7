"""One name means one thing, and docstrings begin with a verb or a noun phrase."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import sftplay

ROOT = Path(sftplay.__file__).parent


def public_classes(folder: Path) -> dict[str, list[str]]:
    """Name → modules that define a class of it."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(ROOT).as_posix())
    return found


def test_no_two_public_classes_of_one_name() -> None:
    assert not {name: places for name, places in public_classes(ROOT).items() if len(places) > 1}


def test_no_docstring_begins_with_a_question() -> None:
    question = re.compile(r"(What|Whether|Who|Which|Where|How|Why|When|Is|Are|Does|Can)\b")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, documented) and question.match(text := ast.get_docstring(node) or "")
    ]
    assert not found
