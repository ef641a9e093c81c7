"""`inv image.lock NAME --upgrade`: newest versions, tried before a lock is written.

Locks are resolved in a copy of the checkout. What changes is shown. Where the cpu stack changes, the
copy then trains on this machine: numerics next to plain PyTorch, the same first steps as today's
stack (parity), a resume, a merge and an answer. Only after that the checkout's locks are replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sftplay import console, parity
from sftplay.errors import MachineError
from sftplay.host.dev import lockfiles
from sftplay.host.local import environments
from sftplay.host.system.checkout import CHECKOUT, PROJECT_VARIABLE
from sftplay.host.system.working_directory import working_directory
from sftplay.runs import Run

_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*\])?==([^\s;]+)", re.MULTILINE)
_COPIED = ("sftplay", "images", "configs", "tasks.py", "pyproject.toml")
_STEPS = 10
_TINY = ("lora.r=4", "train.batch_size=2", "train.logging_steps=1", "model.max_length=128")


def upgrade(names: Sequence[str]) -> None:
    """Resolve the locks again with the newest versions, try them, and write them.

    Raises:
        MachineError: uv found no solution, or the new cpu stack does not pass (69).
        RefusedError: it trains otherwise than today's (76). In both cases nothing is written.
    """
    with tempfile.TemporaryDirectory(prefix="sftplay-upgrade-") as name:
        draft = Path(name) / "draft"
        _copy_checkout(draft)
        for one in names:
            lockfiles.resolve(one, draft, upgrade=True)
        changed = [one for one in names if _show_changes(one, draft)]
        if not changed:
            console.success("every lock has the newest versions that its ranges accept")
            return
        if "cpu" in changed:
            _try_cpu_stack(draft, Path(name) / "project")
        if set(changed) & {"bnb", "unsloth"}:
            console.info(
                "bnb and unsloth were resolved, not run: inv image.build verifies their imports, a GPU the rest"
            )
        for one in changed:
            target = lockfiles.LOCKS[one].target
            shutil.copy(draft / target, CHECKOUT / target)
            console.success(f"written: {target}")


def changes(before: str, after: str) -> list[str]:
    """Tell two locks' packages apart: `torch 2.12 → 2.13`, `added: x 1`, `removed: y 2`. Pure."""
    old, new = dict(_PIN.findall(before)), dict(_PIN.findall(after))
    moved = [f"{k} {old[k]} → {new[k]}" for k in sorted(old) if k in new and old[k] != new[k]]
    added = [f"added: {name} {new[name]}" for name in sorted(new.keys() - old.keys())]
    return moved + added + [f"removed: {name} {old[name]}" for name in sorted(old.keys() - new)]


def _show_changes(name: str, draft: Path) -> bool:
    target = lockfiles.LOCKS[name].target
    before, after = ((root / target).read_text(encoding="utf-8") for root in (CHECKOUT, draft))
    found = changes(before, after)
    console.info(f"{name}: {', '.join(found) or 'unchanged'}")
    return before != after


def _copy_checkout(draft: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for name in _COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, draft / name, ignore=ignore)
        else:
            shutil.copy(source, draft / name)
    (draft / "bench").mkdir()
    for path in (CHECKOUT / "bench").glob("llamafactory*"):
        shutil.copy(path, draft / "bench")


def _try_cpu_stack(draft: Path, project: Path) -> None:
    _menu(CHECKOUT, project.parent, "init", str(project))
    rows = [{"question": f"What is {n} times 3?", "answer": f"It is {n * 3}."} for n in range(60)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (project / "data" / "raw" / "rows.jsonl").write_text(text, encoding="utf-8")
    _stage(draft, project, "check", "--numerics")
    for root, run in ((CHECKOUT, "today"), (draft, "upgraded")):
        sets = (*_TINY, f"train.max_steps={_STEPS}", f"train.save_steps={_STEPS}")
        _stage(root, project, "train", "--run", run, *_sets(sets))
    with working_directory(project):
        parity.report([Run("today"), Run("upgraded")], {"stacks": ["cpu", "cpu, upgraded"]})
    more = (*_TINY, f"train.max_steps={_STEPS + 1}")
    _stage(draft, project, "train", "--run", "upgraded", "--resume", *_sets(more))
    _stage(draft, project, "merge", "--run", "upgraded")
    _stage(draft, project, "infer", "--run", "upgraded", "--prompt", "What is 2 times 3?")
    console.success(f"the upgraded cpu stack trains as today's over {_STEPS} steps")


def _sets(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _stage(root: Path, project: Path, *words: str) -> None:
    _menu(root, project, *words, "--runner", "local")


def _menu(root: Path, folder: Path, *words: str) -> None:
    """Run a task with the code and the locks of `root`, in a project of its own."""
    console.info(f"{'today' if root == CHECKOUT else 'upgraded'}: {words[0]}")
    env = {
        **os.environ,
        "PYTHONPATH": str(root),
        "SFTPLAY_ENVS": str(environments.envs_folder()),
        PROJECT_VARIABLE: str(folder),
    }
    argv = [sys.executable, "-m", "sftplay.host.cli", *words]
    if code := subprocess.run(argv, cwd=folder, env=env, check=False).returncode:
        raise MachineError(
            f"the upgraded cpu stack does not pass: {words[0]} ended with {code}",
            todo="nothing was written; its messages are above. Bound the package in the .in file",
        )
