"""The trainer as it was put together, compared with what the run's stamp would say."""

from __future__ import annotations

from pathlib import Path

from tests.box import Box


def test_a_precision_that_nobody_asked_for_is_not_stamped(project: Path, box: Box) -> None:
    """However it gets into accelerate: the trainer itself is asked, before anything is written."""
    ran = box.run(
        *("train", "--config", "demo.yaml", "--set", "train.precision=fp32"),
        cwd=project,
        ACCELERATE_MIXED_PRECISION="bf16",
        BOX_BREAK="tests.faults:variables_reach_the_stage",
    )
    assert ran.code == 69, ran.err
    assert "'bf16'" in ran.err and "accelerate" in ran.err
    assert not list((project / "outputs/demo").glob("**/backend.json"))
