"""Adapters that plain PEFT can load, and those that it can't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.errors import RefusedError
from sftplay.model.evaluation.portable import judge
from tests.box import Box


def test_an_adapter_is_portable_when_plain_peft_gives_the_loss_that_training_saw(
    trained: Path, box: Box
) -> None:
    ran = box.run("eval", "--run", "demo", "--config", "demo.yaml", "--portable", cwd=trained)
    assert ran.code == 0, ran.err
    found = json.loads((trained / "outputs" / "demo" / "run.json").read_text())["portable"]
    assert found["loss_in_peft"] == pytest.approx(found["loss_in_training"], rel=1e-4)
    assert found["loss_of_base"] > found["loss_in_peft"] and found["trained_by"] == "bnb"


def test_an_adapter_of_other_names_is_refused(trained: Path, box: Box) -> None:
    from safetensors.torch import load_file, save_file

    from sftplay.manifest import seal

    adapter = trained / "outputs" / "demo" / "adapter"
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {key.replace("q_proj", "q_project"): value for key, value in weights.items()},
        adapter / "adapter_model.safetensors",
    )
    (adapter / "manifest.json").unlink()
    seal(adapter, {})
    ran = box.run("eval", "--run", "demo", "--config", "demo.yaml", "--portable", cwd=trained)
    assert ran.code == 76 and "does not fit its base" in ran.err, ran.err
    assert "portable" not in json.loads((trained / "outputs" / "demo" / "run.json").read_text())


@pytest.mark.parametrize(
    ("seen", "loss", "plain", "said"),
    [
        (2.0, 2.1, 3.0, "not portable"),
        (2.0, float("nan"), 3.0, "not portable"),
        (2.0, 2.0, 2.0, "no effect"),
    ],
)
def test_the_judgement(seen: float, loss: float, plain: float, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        judge(seen, loss, plain)
    judge(2.0, 2.001, 3.0)
