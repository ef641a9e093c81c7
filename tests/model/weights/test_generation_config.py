"""A base's generation config: its end tokens are kept, and what transformers would not save is
corrected before it is too late.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, GenerationConfig

from sftplay.model.weights.generation_config import end_ids, make_savable
from tests.box import Box
from tests.model.random_models import STOPS, random_model
from tests.tiny import make_tiny_model

CONTRADICTORY = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": [2, 0], "bos_token_id": 1}


@pytest.fixture
def model() -> Any:
    return random_model("Llama")


def test_every_end_token_counts(model: Any) -> None:
    assert end_ids(model) == STOPS
    model.generation_config = GenerationConfig(eos_token_id=5)
    assert end_ids(model) == [5]
    assert end_ids(model, [7, 5]) == [7, 5]
    model.generation_config = GenerationConfig()
    assert end_ids(model) == STOPS  # of config.json


def test_a_temperature_without_sampling_gets_it(model: Any, tmp_path: Path, capsys: Any) -> None:
    model.generation_config = GenerationConfig(**CONTRADICTORY)
    with pytest.raises(ValueError, match="invalid"):
        model.save_pretrained(tmp_path / "refused")
    make_savable(model)
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/generation_config.json").read_text())
    assert saved["do_sample"] and saved["temperature"] == 0.9 and saved["eos_token_id"] == [2, 0]
    said = capsys.readouterr().err
    assert "temperature 0.9, top_p 0.6" in said and "do_sample: true is added" in said


def test_of_what_sampling_does_not_explain_the_token_ids_are_kept(
    model: Any, tmp_path: Path, capsys: Any
) -> None:
    model.generation_config = GenerationConfig(
        early_stopping=True, num_beams=1, eos_token_id=[2, 0]
    )
    make_savable(model)
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [2, 0] and "early_stopping" not in saved
    assert "only its token ids are kept" in capsys.readouterr().err


def test_a_good_one_is_left_alone(model: Any, capsys: Any) -> None:
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.6)
    make_savable(model)
    assert model.generation_config.temperature == 0.6 and not capsys.readouterr().err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_such_a_base_is_trained_and_merged(
    method: str, project: Path, tmp_path: Path, box: Box
) -> None:
    base = make_tiny_model(tmp_path / "base")
    (base / "generation_config.json").write_text(json.dumps(CONTRADICTORY))
    words = ["--set", f"train.method={method}", "--set", "train.learning_rate=0.001"]
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", f"model.name={base}", *words, cwd=project
    )
    assert ran.code == 0 and "contradicts itself" in ran.err, ran.err
    ran = box.run("merge", "--run", "demo", cwd=project)
    assert ran.code == 0 and ".py:" not in ran.err, ran.err
    merged = project / "outputs/demo/merged"
    generation = GenerationConfig.from_pretrained(merged)
    assert {*generation.eos_token_id} == {0, 2} and generation.do_sample
    AutoModelForCausalLM.from_pretrained(merged).save_pretrained(tmp_path / "again")
