"""Kernel, host and data import with torch blocked; the contracts between the layers are
import-linter's.
"""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import sftplay

ROOT = Path(sftplay.__file__).parent
BLOCKED = ("torch", "peft", "trl", "bitsandbytes", "accelerate", "datasets")
PROGRAM = """
import importlib, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
for name in {modules}:
    importlib.import_module(name)
print("ok")
"""


def _modules(layer: str) -> list[str]:
    folder = ROOT / layer if layer else ROOT
    files = folder.glob("*.py") if not layer else folder.rglob("*.py")
    names = [".".join(["sftplay", *path.relative_to(ROOT).with_suffix("").parts]) for path in files]
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


@pytest.mark.parametrize("layer", ["", "page", "host", "data"])
def test_imports_with_torch_blocked(layer: str) -> None:
    if layer == "data":
        pytest.importorskip("orjson", reason="needs the packages of a stack")
    program = PROGRAM.format(blocked=BLOCKED, modules=_modules(layer))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "ok\n", done.stderr


def test_no_module_comes_back_to_itself() -> None:
    """Imports inside functions and for type checkers count too; the sorter names the circle that it
    finds.
    """
    graph = grimp.build_graph("sftplay")
    files = [name for name in graph.modules if name != "sftplay"]
    TopologicalSorter(
        {name: graph.find_modules_directly_imported_by(name) for name in files}
    ).prepare()


def test_help_of_a_data_stage_is_light() -> None:
    program = "import sys; from sftplay.cli import build_parser; build_parser(); print(sorted({'torch', 'transformers', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
