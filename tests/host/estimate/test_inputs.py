"""Inputs of an estimate: the speed of an earlier run."""

import json
from pathlib import Path

import pytest

from sftplay.host.estimate import check, inputs
from sftplay.host.quickstart import sample_data
from sftplay.host.system.machine import read_machine
from sftplay.settings import Settings
from tests.host.estimate.test_model_shape import BLOCK, CONFIG, write_model


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("tiny-model").mkdir()
    write_model(Path("tiny-model"), BLOCK, CONFIG)
    write_config("model: {name: ./tiny-model}\ntrain: {device: cpu, max_steps: 10}\n")
    sample_data.write_if_empty()


def write_config(text: str) -> None:
    Path("configs/run_bnb.yaml").write_text(text)


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
