"""Rows that a pass holds: the search is pure; tests/gpu asks a GPU what really fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.config import load_config
from sftplay.errors import ConfigError, OutOfMemoryError
from sftplay.model.forward.attention import name_of
from sftplay.model.training.memory_probe import fitting, halved, rows_in
from sftplay.settings import AUTO_ROWS, TrainSettings
from tests.box import Box


def up_to(limit: int, tried: list[int]) -> Callable[[int], bool]:
    def fits(rows: int) -> bool:
        tried.append(rows)
        return rows <= limit

    return fits


def test_rows_are_halved_until_they_fit() -> None:
    tried: list[int] = []
    assert fitting(16, 16, up_to(5, tried)) == 4
    assert tried == [16, 8, 4]


def test_what_fits_at_once_is_tried_once() -> None:
    tried: list[int] = []
    assert fitting(4, 4, up_to(100, tried)) == 4 and tried == [4]


def test_a_row_that_does_not_fit_is_81() -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        fitting(4, 4, lambda _: False)
    assert caught.value.code == 81 and "max_length" in caught.value.todo


@given(rows=st.integers(1, 64), passes=st.integers(1, 16), limit=st.integers(1, 80))
def test_the_effective_batch_stays(rows: int, passes: int, limit: int) -> None:
    found = fitting(rows, rows * passes, lambda count: count <= limit)
    assert found <= max(limit, 1) and (rows * passes) % found == 0


@given(rows=st.integers(2, 64), passes=st.integers(1, 16))
def test_a_halving_is_at_most_half(rows: int, passes: int) -> None:
    assert 1 <= halved(rows, rows * passes) <= rows // 2


@given(free=st.integers(0, 10**12), one=st.integers(0, 10**11), effective=st.integers(1, 512))
def test_auto_fills_the_free_memory_and_no_more(free: int, one: int, effective: int) -> None:
    rows = rows_in(free, one, effective)
    assert 1 <= rows <= effective and effective % rows == 0
    assert rows == 1 or rows * one <= free


def test_auto_takes_what_there_is() -> None:
    assert rows_in(10_000, 100, 16) == 16
    assert rows_in(1_000, 100, 16) == 8
    assert rows_in(10, 100, 16) == 1


def test_auto_in_a_config(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train:\n  batch_size: auto\n  gradient_accumulation_steps: 2\n")
    assert load_config(path).train.rows_per_step == 2 * AUTO_ROWS
    path.write_text("train:\n  batch_size: automatic\n")
    with pytest.raises(ConfigError):
        load_config(path)
    assert TrainSettings(batch_size=3, gradient_accumulation_steps=5).rows_per_step == 15


def test_auto_trains_as_the_same_rows_written_out(project: Path, box: Box) -> None:
    runs: dict[str, dict[str, Any]] = {}
    for name, sets in {"auto": ("auto", 1), "plain": ("4", 4)}.items():
        ran = box.run(
            "train", "--config", "demo.yaml", "--run", name, "--set", f"train.batch_size={sets[0]}",
            "--set", f"train.gradient_accumulation_steps={sets[1]}", "--set", "train.max_steps=2", cwd=project,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        runs[name] = {
            "weights": (project / f"outputs/{name}/adapter/adapter_model.safetensors").read_bytes(),
            "err": ran.err,
        }
    assert runs["auto"]["weights"] == runs["plain"]["weights"]
    assert "2 steps of 16 rows" in runs["auto"]["err"]


@pytest.mark.parametrize(
    ("operators", "implementation", "expected"),
    [
        ({"aten.mm.default", "aten._scaled_dot_product_flash_attention_for_cpu.default"}, "sdpa", "sdpa/flash"),
        ({"aten._scaled_dot_product_efficient_attention.default"}, "sdpa", "sdpa/efficient"),
        ({"aten._scaled_dot_product_cudnn_attention.default"}, "sdpa", "sdpa/cudnn"),
        ({"aten.bmm.default", "aten._softmax.default"}, "sdpa", "sdpa/math"),
        ({"aten.bmm.default", "aten._softmax.default"}, "eager", "eager"),
        ({"aten.bmm.default", "aten._softmax.default"}, "sftplay_blocks", "blocks"),
        ({"aten._scaled_dot_product_flash_attention_for_cpu.default"}, "sftplay_blocks", "sdpa/flash"),
        ({"flash_attn._flash_attn_forward.default"}, "flash_attention_2", "flash_attention_2"),
        ({"xformers.efficient_attention_forward_cutlass.default", "aten._scaled_dot_product_flash_attention.default"}, "sdpa", "xformers"),
    ],
)  # fmt: skip
def test_the_kernel_is_named_by_what_ran(
    operators: set[str], implementation: str, expected: str
) -> None:
    assert name_of(operators, implementation) == expected


def test_eager_that_was_asked_for_is_eager_in_the_stamp(project: Path, box: Box) -> None:
    import json

    sets = ["--set", "model.attention=eager", "--set", "train.max_steps=1"]
    assert box.run("train", "--config", "demo.yaml", *sets, cwd=project).code == 0
    run = project / "outputs" / "demo"
    assert json.loads((run / "backend.json").read_text())["attention"] == "eager"
    other = box.run(
        "train",
        "--config",
        "demo.yaml",
        "--resume",
        "--set",
        "train.max_steps=2",
        "--strict",
        cwd=project,
    )
    assert other.code == 76 and "attention: eager → sdpa/flash" in other.err, other.err
    warned = box.run(
        "train", "--config", "demo.yaml", "--resume", "--set", "train.max_steps=2", cwd=project
    )
    assert warned.code == 0 and "attention: eager → sdpa/flash" in warned.err
