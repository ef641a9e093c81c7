"""An adapter is used only with the base that it was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.box import Box


def test_another_base_than_the_trained_one_is_refused(
    trained: Path, tiny_model: Path, box: Box
) -> None:
    shutil.copytree(tiny_model, trained / "other")
    weights = load_file(trained / "other/model.safetensors")
    weights["model.norm.weight"][0] += 0.5
    save_file(weights, trained / "other/model.safetensors", metadata={"format": "pt"})
    ran = box.run("merge", "--run", "demo", "--set", "model.name=./other", cwd=trained)
    assert ran.code == 76 and "not the one that was trained" in ran.err
