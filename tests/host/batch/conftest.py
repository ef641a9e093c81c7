"""Configs for the tests of batch files."""

from __future__ import annotations

from pathlib import Path

import pytest

BASE = "model: {name: smollm2-135m-instruct}\n"


@pytest.fixture
def base_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configs that the valid batch file names, in a new working directory."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    for name in ("run_bnb", "other"):
        Path(f"configs/{name}.yaml").write_text(BASE)
