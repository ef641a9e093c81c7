"""Failures as messages: commands in them keep the person's config."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.boundary import with_config

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("todo", "hint"),
    [
        ("render first: inv render", "render first: inv render --config my.yaml"),
        (
            "again: inv render, inv tokenize",
            "again: inv render --config my.yaml, inv tokenize --config my.yaml",
        ),
        ("inv process --strict, then", "inv process --config my.yaml --strict, then"),
        ("inv train-bnb (or wait)", "inv train-bnb --config my.yaml (or wait)"),
        ("inv train --run a --resume", "inv train --run a --resume"),
        ("inv process --config other.yaml", "inv process --config other.yaml"),
        ("inv runs lists them; inv install", "inv runs lists them; inv install"),
        ("inv show.me, inv trainer", "inv show.me, inv trainer"),
    ],
)
def test_commands_of_a_hint_keep_the_config(todo: str, hint: str) -> None:
    assert with_config(todo, "my.yaml") == hint
    assert with_config(todo, None) == todo


def test_a_stage_names_the_config_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "my-config.yaml").write_text("{}\n")
    ran = subprocess.run(
        [sys.executable, "-m", "sftplay", "tokenize", "--config", "my-config.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 66
    assert "inv render --config my-config.yaml" in ran.stderr
