"""A training that can't learn ends before it is stamped, or in its first steps; one that can says
what was proved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.processor import cpu_has_bf16, processor_name
from tests.box import Box, Ran
from tests.model.plain_training import write_adapter


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _train(box: Box, project: Path, cache: Path, *words: str, **env: str) -> Ran:
    return box.run(
        "train", "--config", "demo.yaml", *words, cwd=project, SFTPLAY_CACHE=str(cache), **env
    )


def _numerics(project: Path, run: str = "demo") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "outputs" / run / "run.json").read_text())[
        "numerics"
    ]
    return found


def test_what_was_proved_is_recorded_and_remembered(project: Path, box: Box, cache: Path) -> None:
    first = _train(box, project, cache)
    assert first.code == 0, first.err
    assert "gradients agree with the plain pass" in first.err
    found = _numerics(project)
    assert found["proved"] is True
    assert found["where"]["processor"] == processor_name()
    for moment in ("before", "after"):
        assert found[moment]["difference"] < 1e-3
        assert found[moment]["norm"] == pytest.approx(found[moment]["plain_norm"], rel=1e-3)
    again = _train(box, project, cache, "--run", "again")
    assert "gradients were proved here before" in again.err
    assert _numerics(project, "again")["remembered"] is True
    other = _train(box, project, cache, "--run", "other", "--set", "train.packing=true")
    assert "gradients agree" in other.err  # another arithmetic: proved for itself


def test_the_proof_leaves_no_trace_in_the_weights(project: Path, box: Box, cache: Path) -> None:
    weights = []
    for run in ("proved", "remembered"):
        ran = _train(box, project, cache, "--run", run)
        assert ran.code == 0, ran.err
        weights.append(
            (project / "outputs" / run / "adapter/adapter_model.safetensors").read_bytes()
        )
    assert weights[0] == weights[1]


@pytest.mark.skipif(
    not cpu_has_bf16(),
    reason=f"{processor_name()} has no AVX512-BF16: bitsandbytes has no packed kernel here",
)
def test_a_gradient_that_stops_at_layers_ends_the_start(
    project: Path, box: Box, cache: Path
) -> None:
    words = ("--set", "train.method=qlora", "--set", "train.precision=bf16")
    ran = _train(box, project, cache, *words, BOX_BREAK="tests.faults:packed_layout_is_back")
    assert ran.code == 82, ran.err
    assert "lora_A" in ran.err
    assert "inv check --numerics" in ran.err
    assert not (project / "outputs/demo/backend.json").exists()
    assert not list((project / "outputs/demo").glob("attempts/*/backend.json"))
    assert (
        _train(box, project, cache, *words).code == 0
    )  # nothing has begun: the same command, without the fault


def test_an_optimizer_that_moves_nothing_is_found_after_two_steps(
    project: Path, box: Box, cache: Path
) -> None:
    ran = _train(box, project, cache, BOX_BREAK="tests.faults:optimizer_moves_nothing")
    assert ran.code == 82, ran.err
    assert "no trained weight has changed" in ran.err
    assert '"failed"' in (project / "outputs/demo/events.jsonl").read_text()


def test_weights_that_training_does_not_see_are_found_after_two_steps(
    project: Path, box: Box, cache: Path
) -> None:
    words = ("--set", "lora.dropout=0")
    ran = _train(box, project, cache, *words, BOX_BREAK="tests.faults:stale_adapter_weights")
    assert ran.code == 82, ran.err
    assert "after 2 steps" in ran.err


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--set", "train.learning_rate=1e-12"), 78, "would change nothing"),
    (("--set", "lora.alpha=1e-9"), 78, "would change nothing"),
    (("--set", "train.learning_rate=0"), 78, "learning_rate"),
])  # fmt: skip
def test_settings_that_change_nothing_are_refused(
    words: tuple[str, ...], code: int, said: str, project: Path, box: Box, cache: Path
) -> None:
    ran = _train(box, project, cache, *words)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert not (project / "outputs/demo/backend.json").exists()


def test_a_training_of_warm_up_alone_is_warned_about(project: Path, box: Box, cache: Path) -> None:
    ran = _train(box, project, cache, "--set", "train.max_steps=1")
    assert ran.code == 0, ran.err
    assert "nothing was learned: the learning rate was 0" in ran.err


def test_an_adapter_of_zeros_is_refused(
    project: Path, tiny_model: Path, box: Box, cache: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    adapter = write_adapter(tiny_model, tmp_path / "zeros")
    weights = adapter / "adapter_model.safetensors"
    save_file({name: value * 0 for name, value in load_file(weights).items()}, weights)
    ran = _train(box, project, cache, "--init-adapter", str(adapter))
    assert ran.code == 76, ran.err
    assert "all zeros" in ran.err


def test_one_target_module_and_a_look_after_every_step_train_rightly(
    project: Path, box: Box, cache: Path
) -> None:
    values = ("lora.target_modules=[q_proj]", "train.eval_steps=1", "train.method=qlora")
    ran = _train(box, project, cache, *(word for value in values for word in ("--set", value)))
    assert ran.code == 0, ran.err
    assert _numerics(project)["proved"] is True
