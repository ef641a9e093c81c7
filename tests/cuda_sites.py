"""Code of the model layer that only a GPU would run: found by its syntax, and watched while it runs.

A site is a use of `torch.cuda`, or a comparison with "cuda". It counts as executed when its line ran
and, for a comparison, when it decided for the GPU.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1] / "sftplay" / "model"


@dataclass(frozen=True)
class Site:
    """`name`: file and function, as docs/gpu.md lists it."""

    path: Path
    line: int
    name: str
    comparison: str = ""


def find_sites() -> list[Site]:
    """Every site below sftplay/model; what is compared with sftplay shares no code and is left out."""
    return [site for path in sorted(ROOT.rglob("*.py")) for site in sites_in(path)]


def sites_in(path: Path) -> Iterator[Site]:
    """Sites of one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any("sftplay" in ast.unparse(node) for node in tree.body if _is_import(node)):
        return
    yield from _walk(tree, path, ())


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _walk(node: ast.AST, path: Path, names: tuple[str, ...]) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = (*names, child.name)
        name = f"{path.relative_to(ROOT.parents[1])}: {'.'.join(inner) or 'module'}"
        if isinstance(child, ast.Attribute) and ast.unparse(child).startswith("torch.cuda."):
            yield Site(path, child.lineno, name)
        elif isinstance(child, ast.Compare) and len(child.ops) == 1:
            sides = (child.left, child.comparators[0])
            if any(isinstance(side, ast.Constant) and side.value == "cuda" for side in sides):
                for_gpu = ast.unparse(child)
                if isinstance(child.ops[0], ast.NotEq):
                    for_gpu = f"not ({for_gpu})"
                yield Site(path, child.lineno, name, for_gpu)
        yield from _walk(child, path, inner)


@contextmanager
def watching(sites: list[Site], executed: set[Site]) -> Iterator[None]:
    """Note which sites run in this thread while the block runs."""
    by_line: dict[tuple[str, int], list[Site]] = {}
    for site in sites:
        by_line.setdefault((str(site.path), site.line), []).append(site)
    files = {path for path, _ in by_line}

    def on_line(frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            for site in by_line.get((frame.f_code.co_filename, frame.f_lineno), ()):
                if site not in executed and _decides_for_the_gpu(site, frame):
                    executed.add(site)
        return on_line

    def on_call(frame: types.FrameType, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def _decides_for_the_gpu(site: Site, frame: types.FrameType) -> bool:
    if not site.comparison:
        return True
    try:
        return bool(eval(site.comparison, frame.f_globals, frame.f_locals))
    except NameError:
        return False
