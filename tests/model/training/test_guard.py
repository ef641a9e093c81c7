"""The resume guard against a hostile hand: stamps, checkpoints and templates that somebody changed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftplay.files import hash_json
from sftplay.manifest import MANIFEST, seal
from tests.box import Box, Ran

Damage = Callable[[Path, Path], object]


def _forge(path: Path, **changes: Any) -> None:
    """As one who knows that there is a hash."""
    value = json.loads(path.read_text())
    del value["hash"]
    value.update(changes)
    path.write_text(json.dumps({**value, "hash": hash_json(value)}))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _resealed(attempt: Path, change: Callable[[Path], object]) -> None:
    checkpoint = attempt / "checkpoints" / "checkpoint-4"
    change(checkpoint)
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint, {"step": 4})


class Trap:
    """Leaves a file behind where somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("sprung",))


REFUSED: dict[str, tuple[Damage, str]] = {
    "attempt's stamp edited": (
        lambda run, attempt: _edit(attempt / "backend.json", precision="bf16"),
        "edited or torn",
    ),
    "run's stamp forged": (
        lambda run, attempt: _forge(run / "backend.json", backend="unsloth"),
        "not that of 01-bnb",
    ),
    "both forged": (
        lambda run, attempt: [
            _forge(path / "backend.json", backend="unsloth") for path in (run, attempt)
        ],
        "of another backend (unsloth)",
    ),
    "attempt's stamp gone": (lambda run, attempt: (attempt / "backend.json").unlink(), "is gone"),
    "all stamps gone": (
        lambda run, attempt: [(path / "backend.json").unlink() for path in (run, attempt)],
        "is gone",
    ),
    "template edited": (
        lambda run, attempt: (run / "chat_template.jinja").write_text("x"),
        "put it back: cp",
    ),
    "template gone": (
        lambda run, attempt: (run / "chat_template.jinja").unlink(),
        "put it back: cp",
    ),
    "a pickle among the numbers": (
        lambda run, attempt: _resealed(
            attempt, lambda folder: (folder / "optimizer.pt").write_bytes(pickle.dumps(Trap()))
        ),
        "something else than numbers",
    ),
}


def _resume(run: Path, box: Box) -> Ran:
    """Resume the run for one step more."""
    words = ("--set", "train.max_steps=5", "--resume")
    return box.run("train", "--config", "demo.yaml", *words, cwd=run.parent.parent)


@pytest.mark.parametrize("damage", REFUSED)
def test_what_was_changed_is_refused_and_never_repaired(run: Path, box: Box, damage: str) -> None:
    change, said = REFUSED[damage]
    change(run, run / "attempts" / "01-bnb")
    before = {path: path.read_bytes() for path in run.glob("**/backend.json")}
    ran = _resume(run, box)
    assert ran.code == 76 and said in ran.err and "next: " in ran.err, ran.err
    assert {path: path.read_bytes() for path in run.glob("**/backend.json")} == before
    assert not list(run.parent.parent.rglob("sprung"))


def test_killed_between_the_two_stamps_the_run_gets_its_copy(run: Path, box: Box) -> None:
    (run / "backend.json").unlink()
    shutil.rmtree(run / "adapter")
    ran = box.run("train", "--run", "demo", "--resume", cwd=run.parent.parent)
    assert ran.code == 0, ran.err
    assert (run / "backend.json").read_bytes() == (
        run / "attempts/01-bnb/backend.json"
    ).read_bytes()


def test_a_whole_checkpoint_that_lacks_something_is_passed_over(run: Path, box: Box) -> None:
    _resealed(
        run / "attempts" / "01-bnb", lambda folder: (folder / "adapter_model.safetensors").unlink()
    )
    ran = _resume(run, box)
    assert ran.code == 0, ran.err
    assert (
        "checkpoint-4 is not whole (it has no weights)" in ran.err
        and "resuming from checkpoint-2" in ran.err
    )


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("run.json", "{}", 76, "does not hold what training writes"),
        ("run.json", "[]", 74, "where an object belongs"),
        ("backend.json", "{}", 76, "schema"),
        ("chat_template.jinja", None, 74, "not a regular file"),
    ],
)
def test_a_run_that_was_damaged_is_not_used(
    run: Path, box: Box, name: str, content: str | None, code: int, said: str
) -> None:
    (run / name).unlink()
    os.mkfifo(run / name) if content is None else (run / name).write_text(content)
    ran = box.run("merge", "--config", "demo.yaml", cwd=run.parent.parent)
    assert ran.code == code and said in ran.err and "next: " in ran.err, ran.err


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("train.learning_rate=0.02", "optimization.learning_rate"),
        ("lora.r=8", "lora.r"),
        ("train.method=qlora", "tuning_method"),
        ("train.seed=1", "optimization.seed"),
    ],
)
def test_resume_refuses_another_training(project: Path, box: Box, change: str, field: str) -> None:
    assert (
        box.run("train", "--config", "demo.yaml", "--set", "train.max_steps=1", cwd=project).code
        == 0
    )
    ran = box.run("train", "--run", "demo", "--resume", "--set", change, cwd=project)
    assert ran.code == 76
    assert f"refuse  {field}" in ran.err and "--run demo-2" in ran.err


def test_resume_of_nothing(project: Path, box: Box) -> None:
    ran = box.run("train", "--config", "demo.yaml", "--resume", cwd=project)
    assert ran.code == 66 and "without --resume" in ran.err
