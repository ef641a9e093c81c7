"""Every way of training next to plain transformers and PEFT: losses, gradients, weights, and the
same bytes after a resume.

Every step has all rows, so that the oracle needs no data order. The everyday rows cover each pair
of settings at least once; the long mode runs them all, and those that a library's choice of kernels
by processor is forced on.
"""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sftplay.processor import cpu_has_bf16, processor_name
from tests.box import Box
from tests.model import plain_training
from tests.model.projects import RATE, STEPS, make_plain_project
from tests.model.run_files import weights_hash

ROWS = 8
SHAPES: dict[str, dict[str, bool]] = {
    "qlora": {},
    "lora": {},
    "full": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
}


class Limits(NamedTuple):
    """Relative differences: of a loss, of a gradient's norm, of one parameter's gradient, of what
    was added to the weights.
    """

    loss: float
    norm: float
    gradient: float
    added: float


# fp32: rounding. bf16: 8 bits of mantissa through two layers; Adam turns small numbers of the
# gradient into whole steps.
LIMITS = {"fp32": Limits(2e-5, 2e-4, 1e-4, 0.02), "bf16": Limits(1e-2, 5e-2, 0.25, 0.5)}


class Way(NamedTuple):
    """One row of the matrix."""

    method: str
    precision: str
    checkpointing: bool
    packing: bool
    accumulation: int
    evaluations: bool

    def __str__(self) -> str:
        return "-".join(
            (self.method, self.precision, "ckpt" if self.checkpointing else "", "packed" if self.packing else "", f"x{self.accumulation}",
             "eval" if self.evaluations else "")
        ).replace("--", "-").strip("-")  # fmt: skip


ALL = [
    Way(*values)
    for values in itertools.product(
        SHAPES, LIMITS, (False, True), (False, True), (1, 4), (False, True)
    )
]


def _pairwise(ways: list[Way]) -> list[Way]:
    """The first rows that together hold every pair of two settings' values."""

    def pairs(way: Way) -> set[Any]:
        return set(itertools.combinations(enumerate(way), 2))

    left, chosen = set[Any]().union(*map(pairs, ways)), []
    while left:
        best = max(ways, key=lambda way: len(pairs(way) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


EVERYDAY = _pairwise(ALL)


@pytest.fixture(scope="module")
def home(tiny_model: Path, box: Box, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose train split has eight rows."""
    for count in range(12, 30):
        folder = tmp_path_factory.mktemp("matrix") / "project"
        make_plain_project(box, folder, tiny_model, count)
        if len(_rows(folder)) == ROWS and len(_rows(folder, "val")):
            return folder
    raise AssertionError("no number of rows gives a train split of eight")


def _rows(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    from datasets import Dataset

    return list(
        Dataset.from_file(str(folder / f"data/tokenized/{split}.arrow")).select_columns(
            ["input_ids", "labels"]
        )
    )


@functools.cache
def _adapter(model: Path, place: Path, method: str) -> Path | None:
    return (
        None
        if method == "full"
        else plain_training.write_adapter(model, place / method, **SHAPES[method])
    )


@functools.cache
def _oracle(model: Path, home: Path, method: str, precision: str) -> plain_training.Trained:
    kind = method if method in ("qlora", "full") else "lora"
    return plain_training.train(
        model, _rows(home), kind, precision, _adapter(model, home / "adapters", method), STEPS, RATE
    )


def _settings(way: Way) -> list[str]:
    values = {
        "train.method": way.method if way.method in ("qlora", "full") else "lora",
        "train.precision": way.precision,
        "train.gradient_checkpointing": str(way.checkpointing).lower(),
        "train.packing": str(way.packing).lower(),
        "train.batch_size": ROWS // way.accumulation,
        "train.gradient_accumulation_steps": way.accumulation,
        "lora.dora": str(way.method == "dora").lower(),
        "lora.rslora": str(way.method == "rslora").lower(),
        **({"train.eval_steps": 1} if way.evaluations else {"train.eval_samples": 2}),
    }
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def _train(
    box: Box, folder: Path, way: Way, adapter: Path | None, run: str, *more: str, **env: str
) -> None:
    start = ["--init-adapter", str(adapter)] if adapter and "--resume" not in more else []
    ran = box.run(
        "train",
        "--config",
        "demo.yaml",
        "--run",
        run,
        *_settings(way),
        *start,
        *more,
        cwd=folder,
        **env,
    )
    assert ran.code == 0, ran.err


def _weights(run: Path, *, step: int | None = None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    folder = (
        run / "attempts/01-bnb/checkpoints" / f"checkpoint-{step}"
        if step
        else run / ("adapter" if (run / "adapter").exists() else "model")
    )
    (path,) = folder.glob("*model.safetensors")
    return dict(load_file(path))


def _first_gradients(run: Path, names: list[str]) -> dict[str, torch.Tensor]:
    """Adam's first moment after one step is a tenth of the first gradient: what really reached the
    optimizer.
    """
    state = torch.load(
        run / "attempts/01-bnb/checkpoints/checkpoint-1/optimizer.pt", weights_only=True
    )["state"]
    order = sorted(
        names, key=lambda name: "norm" in name
    )  # transformers puts norms into a group of their own, the last
    return {name: state[number]["exp_avg"] / 0.1 for number, name in enumerate(order)}


def _compare(run: Path, oracle: plain_training.Trained, limits: Limits) -> None:
    log = json.loads(
        (run / f"attempts/01-bnb/checkpoints/checkpoint-{STEPS}/trainer_state.json").read_text()
    )["log_history"]
    logged = [entry for entry in log if "loss" in entry]
    for entry, loss, norm in zip(logged, oracle.losses, oracle.norms, strict=True):
        assert entry["loss"] == pytest.approx(loss, rel=limits.loss)
        assert entry["grad_norm"] == pytest.approx(norm, rel=limits.norm)
    largest = max(float(g.norm()) for g in oracle.gradients[0].values())
    for name, gradient in _first_gradients(run, list(oracle.gradients[0])).items():
        expected = oracle.gradients[0][name]
        assert float((gradient - expected).norm()) <= limits.gradient * max(
            float(expected.norm()), 1e-2 * largest
        ), name
    end = _weights(run)
    apart, moved = 0.0, 0.0
    for name, value in oracle.end.items():
        spelled = (name, name.replace(".default", ""), name.replace(".default.weight", ""))
        ours = next(end[one] for one in spelled if one in end)
        apart += float((ours.float() - value).square().sum())
        moved += float((value - oracle.start[name]).square().sum())
    assert moved > 0
    assert (apart / moved) ** 0.5 <= limits.added


def _run_row(way: Way, home: Path, tiny_model: Path, box: Box, tmp_path: Path, **env: str) -> None:
    folder = tmp_path / "project"
    shutil.copytree(home, folder)
    adapter = _adapter(tiny_model, home / "adapters", way.method)
    _train(box, folder, way, adapter, "whole", **env)
    _compare(
        folder / "outputs/whole",
        _oracle(tiny_model, home, way.method, way.precision),
        LIMITS[way.precision],
    )
    _train(box, folder, way, adapter, "parts", "--set", "train.max_steps=1", **env)
    _train(box, folder, way, adapter, "parts", "--resume", **env)
    if (
        not way.evaluations
    ):  # with them, the best step is published, and the last one is not always it
        assert weights_hash(folder, "parts") == weights_hash(folder, "whole")


@pytest.mark.parametrize("way", EVERYDAY, ids=str)
def test_a_way_of_training_agrees_with_plain_peft(
    way: Way, home: Path, tiny_model: Path, box: Box, tmp_path: Path
) -> None:
    _run_row(way, home, tiny_model, box, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("way", [way for way in ALL if way not in EVERYDAY], ids=str)
def test_every_way_of_training_agrees_with_plain_peft(
    way: Way, home: Path, tiny_model: Path, box: Box, tmp_path: Path
) -> None:
    _run_row(way, home, tiny_model, box, tmp_path)


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("packs", [True, False])
def test_bitsandbytes_choice_of_a_layout_changes_nothing(
    packs: bool, precision: str, home: Path, tiny_model: Path, box: Box, tmp_path: Path
) -> None:
    """As on a processor with AVX512-BF16, and as on one without."""
    way = Way("qlora", precision, False, False, 1, True)
    fault = "tests.faults:bitsandbytes_packs" if packs else "tests.faults:bitsandbytes_never_packs"
    _run_row(way, home, tiny_model, box, tmp_path, BOX_BREAK=fault)


# What libraries take for this processor, forced to something else. Each is read once, when the
# library is loaded.
SWITCHES = {
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "onednn-no-bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    "mkl-avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "MKL_DEBUG_CPU_TYPE": "5"},
}


@pytest.fixture(scope="module", params=SWITCHES)
def switched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    started = Box(tmp_path_factory.mktemp("switched"), **SWITCHES[request.param])
    yield started
    started.close()


@pytest.mark.long
@pytest.mark.parametrize("method", SHAPES)
@pytest.mark.parametrize("precision", LIMITS)
def test_no_switch_by_processor_changes_a_training(
    method: str, precision: str, switched: Box, home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    _run_row(Way(method, precision, False, False, 4, True), home, tiny_model, switched, tmp_path)


@pytest.mark.skipif(
    not cpu_has_bf16(), reason=f"{processor_name()} has no bf16 instructions: auto is fp32 here"
)
def test_auto_is_bf16_here_and_learns(home: Path, box: Box, tmp_path: Path) -> None:
    """The default of a processor with bf16: the loss after 30 steps is that of fp32."""
    folder = tmp_path / "project"
    shutil.copytree(home, folder)
    last = {}
    for precision in ("auto", "fp32"):
        words = [
            "--set",
            f"train.precision={precision}",
            "--set",
            "train.max_steps=30",
            "--set",
            "train.batch_size=8",
        ]
        ran = box.run("train", "--config", "demo.yaml", "--run", precision, *words, cwd=folder)
        assert ran.code == 0, ran.err
        record = json.loads((folder / f"outputs/{precision}/run.json").read_text())
        last[precision] = record["last_loss"]
        assert record["last_loss"] < 0.6 * record["first_loss"]
    assert json.loads((folder / "outputs/auto/backend.json").read_text())["precision"] == "bf16"
    assert last["auto"] == pytest.approx(last["fp32"], rel=0.05)
