"""Inputs of an estimate: the speed of an earlier run."""

import json
from pathlib import Path

import pytest

from sftplay.host.estimate import check, inputs
from sftplay.host.system.machine import read_machine
from sftplay.settings import Settings

pytestmark = pytest.mark.usefixtures("tiny_project")


def test_the_speed_of_an_earlier_run_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("outputs/earlier")
    run.mkdir(parents=True)
    stamp = {
        "base_model": "./tiny-model",
        "tuning_method": "lora",
        "device": "cpu",
        "created": "2026-01-01",
    }
    (run / "backend.json").write_text(json.dumps(stamp))
    (run / "run.json").write_text(json.dumps({"state": "finished", "tokens_per_second": 0.5}))
    (run.with_name("torn")).mkdir()
    run.with_name("torn").joinpath("run.json").write_text("{")
    assert check.check() == 0
    assert "measured in an earlier run here" in capsys.readouterr().err
    slow = inputs.cpu_training_time(
        Settings.model_validate({"model": {"name": "./tiny-model"}}), read_machine()
    )
    assert slow is not None and slow.likely > 3600  # 54 steps of 4 rows at half a token a second
