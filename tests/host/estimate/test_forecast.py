from dataclasses import replace
from typing import Any

import pytest

from sftplay.host.estimate import forecast
from sftplay.host.estimate.forecast import TrainingDevice, TrainingRows
from sftplay.host.estimate.model_shape import ModelShape
from sftplay.settings import Settings

# SmolLM2-135M, as its files say
SMOL = ModelShape(
    134_515_008,
    106_168_320,
    30 * (4 * 576 + 2 * 192 + 2 * 576 + 3 * (576 + 1536)),
    0,
    30,
    576,
    49_152,
)
SMOL = replace(SMOL, adapted_ends=SMOL.linear_ends)
GSM8K = TrainingRows(6726, 226, 131, 500, "test", exact=True)
CPU = TrainingDevice("cpu", cores=2, width=4)
GPU = TrainingDevice("cuda", capability=9, width=2)


def settings(**train: Any) -> Settings:
    return Settings.model_validate({"train": {"method": "qlora", **train}})


@pytest.mark.parametrize(
    ("train", "rows", "expected"),
    [
        ({}, 6726, 1682),
        ({"max_steps": 7}, 6726, 7),
        ({"epochs": 2, "gradient_accumulation_steps": 4}, 6726, 842),
        ({"epochs": 0.5}, 100, 13),
        ({}, 1, 1),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(
    train: dict[str, Any], rows: int, expected: int
) -> None:
    assert forecast.steps(settings(**train).train, rows) == expected


def test_trained_weights_of_an_adapter() -> None:
    assert forecast.trained_weights(settings(), SMOL) == 4_884_480  # as PEFT counts them for r 16
    assert forecast.trained_weights(settings(method="full"), SMOL) == SMOL.weights


def test_memory_orders_the_methods_as_they_are() -> None:
    need = {
        m: forecast.memory(settings(method=m), SMOL, GSM8K, CPU).likely
        for m in ("qlora", "lora", "full")
    }
    assert need["qlora"] < need["lora"] < need["full"]


def test_longer_rows_and_bigger_batches_cost_memory_and_checkpointing_saves_it() -> None:
    need = forecast.memory(settings(), SMOL, GSM8K, CPU).likely
    assert forecast.memory(settings(batch_size=8), SMOL, GSM8K, CPU).likely > 1.5 * need
    assert forecast.memory(settings(), SMOL, replace(GSM8K, longest=100), CPU).likely < need
    assert (
        forecast.memory(settings(gradient_checkpointing=True), SMOL, GSM8K, CPU).likely < 0.7 * need
    )


def test_rows_longer_than_max_length_cost_no_more_than_it() -> None:
    short = Settings.model_validate({"model": {"max_length": 256}, "train": {"method": "lora"}})
    assert forecast.memory(short, SMOL, replace(GSM8K, longest=256), CPU) == forecast.memory(
        short, SMOL, replace(GSM8K, longest=9999), CPU
    )


def test_time_grows_with_steps_and_shrinks_with_cores() -> None:
    hundred = forecast.duration(settings(max_steps=100), SMOL, GSM8K, CPU)
    assert forecast.duration(settings(max_steps=1000), SMOL, GSM8K, CPU).likely > 8 * hundred.likely
    assert (
        forecast.duration(settings(max_steps=100), SMOL, GSM8K, replace(CPU, cores=16)).likely
        < hundred.likely / 2
    )
    assert hundred.low < hundred.likely < hundred.high


@pytest.mark.parametrize("capability", [6, 7, 8, 9, 10, 11, 12, 13])
def test_every_gpu_has_a_speed_and_beats_two_cores(capability: int) -> None:
    on_gpu = forecast.duration(settings(), SMOL, GSM8K, replace(GPU, capability=capability))
    assert on_gpu.likely < forecast.duration(settings(), SMOL, GSM8K, CPU).likely / 5


def test_disk_counts_what_retention_keeps() -> None:
    one = forecast.disk(settings(save_total_limit=1), SMOL, GSM8K).likely
    five = forecast.disk(settings(save_total_limit=5), SMOL, GSM8K).likely
    assert five - one == pytest.approx(4 * 12 * 4_884_480)


def test_a_guess_is_less_certain_than_a_measure() -> None:
    exact = forecast.memory(settings(), SMOL, GSM8K, CPU)
    assert forecast.memory(settings(), SMOL, replace(GSM8K, exact=False), CPU).factor > exact.factor


@pytest.mark.parametrize(
    (
        "method",
        "tokens",
        "longest",
        "peak",
    ),  # what real trainings of this model took, fp32, batches of 4, in GB
    [
        ("qlora", 215, 507, 5.2),
        ("qlora", 86, 93, 2.4),
        ("lora", 86, 93, 2.3),
        ("full", 86, 93, 3.4),
    ],
)
def test_memory_is_near_what_was_measured(
    method: str, tokens: float, longest: int, peak: float
) -> None:
    rows = TrainingRows(205, tokens, tokens / 2, longest, "measured", exact=True)
    need = forecast.memory(settings(method=method), SMOL, rows, CPU)
    assert need.low <= peak * 1e9 <= need.high


# 70 billion weights, of the shape of Llama 2 70B
LARGE = ModelShape(69_000_000_000, 68_450_000_000, 80 * 100_000, 0, 80, 8192, 32_000)
LARGE = replace(LARGE, adapted_ends=LARGE.linear_ends)


def needed(method: str, shape: ModelShape, free: float, *, sharded: bool) -> int | None:
    plan = settings(method=method, batch_size=8)
    return forecast.gpus_needed(plan, shape, GSM8K, GPU, int(free * forecast.GIB), sharded=sharded)


def test_how_many_gpus_a_model_needs() -> None:
    assert needed("qlora", SMOL, 16, sharded=False) == 1
    assert needed("qlora", LARGE, 48, sharded=False) == 1
    assert needed("lora", LARGE, 80, sharded=False) is None  # each GPU would hold 128 GiB
    assert needed("lora", LARGE, 80, sharded=True) is None  # whole once, while it is loaded
    assert needed("lora", LARGE, 140, sharded=True) == 2
    assert needed("full", LARGE, 160, sharded=True) is None  # 257 GiB of fp32 weights
    assert needed("full", LARGE, 280, sharded=True) == 4


def test_ranks_share_rows_and_shards_share_weights() -> None:
    plan = settings(method="lora", batch_size=8)
    one, two = (forecast.memory(plan, LARGE, GSM8K, GPU, count).likely for count in (1, 2))
    halves = forecast.memory(plan, LARGE, GSM8K, GPU, 2, sharded=True).likely
    assert halves < 1.01 * one  # while it is loaded
    assert two == pytest.approx(one, rel=0.1)
    alone, both = (forecast.duration(plan, LARGE, GSM8K, GPU, count).likely for count in (1, 2))
    assert both == pytest.approx(alone / 2, rel=0.05)
    plan = settings(method="full", batch_size=8)
    one = forecast.memory(plan, LARGE, GSM8K, GPU).likely
    assert forecast.memory(plan, LARGE, GSM8K, GPU, 2, sharded=True).likely < 0.6 * one
