"""Locks: each environment's packages with versions and hashes, made by uv from a short list with
reasons.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sftplay import console
from sftplay.errors import MachineError, UsageError
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.system.uv import find_uv, uv_environ

# The stacks run on exactly this Python, on this platform; the host's own packages on any Python
# from 3.10 on.
_STACK = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
_ANYWHERE = ("--universal", "--python-version", "3.10")
_NO_LLM = ("--override", "images/cpu/overrides.txt")
_NO_VISION = ("--override", "bench/llamafactory-overrides.txt")
_TEXT_ONLY = ("--override", "images/vllm-test-overrides.txt")
_AS_CPU = ("--constraint", "images/cpu/requirements.lock")
_NO_XFORMERS = ("--override", "images/unsloth/overrides.txt")


@dataclass(frozen=True)
class LockSpec:
    """A list of wanted packages (`source`) and the hashed versions that uv found for it (`target`).

    Attributes:
        torch: which build of torch it holds, if any: cpu (PyTorch's own index or a wheel folder) or
            cuda (PyPI).
    """

    source: str
    target: str
    options: tuple[str, ...]
    torch: Literal["cpu", "cuda"] | None = None


LOCKS: Mapping[str, LockSpec] = {
    "uv": LockSpec("images/uv.in", "images/uv.lock", _ANYWHERE),
    "build": LockSpec("images/build.in", "images/build.lock", _ANYWHERE),
    "host": LockSpec("images/host.in", "images/host.lock", _ANYWHERE),
    "host-test": LockSpec("images/host-test.in", "images/host-test.lock", _ANYWHERE),
    "clients-test": LockSpec("images/clients-test.in", "images/clients-test.lock", _STACK),
    "cluster-test": LockSpec("images/cluster-test.in", "images/cluster-test.lock", _STACK),
    "ray": LockSpec("images/ray.in", "images/ray.lock", _STACK),
    "trackio": LockSpec("images/trackio.in", "images/trackio.lock", _STACK),
    "vllm-test": LockSpec(
        "images/vllm-test.in", "images/vllm-test.lock", (*_STACK, *_TEXT_ONLY), "cpu"
    ),
    "cpu": LockSpec(
        "images/cpu/requirements.in", "images/cpu/requirements.lock", (*_STACK, *_NO_LLM), "cpu"
    ),
    "bnb": LockSpec("images/bnb/requirements.in", "images/bnb/requirements.lock", _STACK, "cuda"),
    "unsloth": LockSpec(
        "images/unsloth/requirements.in",
        "images/unsloth/requirements.lock",
        (*_STACK, *_NO_XFORMERS),
        "cuda",
    ),
    "export": LockSpec(
        "images/export/requirements.in",
        "images/export/requirements.lock",
        (*_STACK, *_AS_CPU),
        "cpu",
    ),
    "dev": LockSpec("images/dev.in", "images/dev.lock", (*_STACK, *_NO_LLM), "cpu"),
    "lm-eval": LockSpec("images/lm-eval.in", "images/lm-eval.lock", (*_STACK, *_NO_LLM), "cpu"),
    "lm-eval-cuda": LockSpec("images/lm-eval-cuda.in", "images/lm-eval-cuda.lock", _STACK, "cuda"),
    "audit": LockSpec("images/audit.in", "images/audit.lock", _STACK),
    "llamafactory": LockSpec(
        "bench/llamafactory.in", "bench/llamafactory.lock", (*_STACK, *_NO_VISION), "cpu"
    ),
}


def chosen(name: str) -> list[str]:
    """The locks that a person named: one, or `all` in the order in which they build on each other.

    Raises:
        UsageError: no such lock (2).
    """
    if name not in (*LOCKS, "all"):
        raise UsageError(f"there is no lock {name!r}", todo=f"one of {', '.join(LOCKS)}, or all")
    return list(LOCKS) if name == "all" else [name]


def make(name: str) -> None:
    """Make one lock, or all. Versions in the present lock are kept where they still fit.

    Raises:
        UsageError: no such lock (2). MachineError: uv found no solution or no network (69).
    """
    for one in chosen(name):
        resolve(one, CHECKOUT)


def resolve(name: str, root: Path, *, upgrade: bool = False) -> None:
    """Write a lock of a checkout: `root`, this one or a copy.

    Args:
        upgrade: take the newest versions.

    Raises:
        MachineError: uv found no solution or no network (69).
    """
    lock = LOCKS[name]
    console.info(f"{lock.source} → {lock.target}")
    env, backend = uv_environ(os.environ, cuda=lock.torch == "cuda")
    argv = [
        *(
            str(find_uv()),
            "pip",
            "compile",
            lock.source,
            "--output-file",
            lock.target,
            *lock.options,
        ),
        *(
            "--generate-hashes",
            "--no-emit-index-url",
            "--quiet",
            "--custom-compile-command",
            f"inv image.lock {name}",
        ),
        *(backend if lock.torch else ()),
        *(("--upgrade",) if upgrade else ()),
    ]
    if subprocess.run(argv, cwd=root, env=env, check=False).returncode:
        raise MachineError(f"uv could not make {lock.target}", todo="its reason is printed above")
    lines = (root / lock.target).read_text(encoding="utf-8").splitlines()
    console.success(
        f"{lock.target}: {sum('==' in line and line[:1].isalnum() for line in lines)} packages"
    )
