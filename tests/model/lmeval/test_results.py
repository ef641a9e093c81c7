"""Records of tasks from results in lm-eval's form."""

from __future__ import annotations

import math
import random
import statistics
from types import SimpleNamespace
from typing import Any

import pytest

from sftplay.model.lmeval.results import compare_group, compare_task, metric_names, samples_of


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def largest(values: list[float]) -> float:
    return max(values)


def results(values: list[float], **more: Any) -> dict[str, Any]:
    """What lm-eval returns for one task with the metric `acc`."""
    rows = [
        {
            "doc_id": place,
            "filter": "none",
            "metrics": ["acc"],
            "acc": value,
            "target": 1,
            "arguments": [("Q:", " no"), ("Q:", " yes")],
            "filtered_resps": [(-2.0, False), (-1.0 - value, True)],
        }
        for place, value in enumerate(values)
    ]
    error = statistics.stdev(values) / math.sqrt(len(values))
    found = {"alias": "t", "sample_len": len(values), "acc,none": mean(values)}
    return {
        "results": {"t": {**found, "acc_stderr,none": error, **more}},
        "higher_is_better": {"t": {"acc": True}},
        "samples": {"t": rows},
    }


def test_metrics_stand_side_by_side_with_paired_intervals() -> None:
    chance = random.Random(3)
    base = [chance.gauss(40, 15) for _ in range(200)]
    found = compare_task(
        "t",
        results(base),
        results([value + 1 for value in base]),
        SimpleNamespace(aggregation=lambda: {"acc": mean}),
    )
    assert list(found) == ["acc,none"]
    values = found["acc,none"]
    assert values["tuned"] - values["base"] == pytest.approx(1) == values["difference"]
    assert values["difference_interval"] == pytest.approx([1, 1])
    error = statistics.stdev(base) / math.sqrt(200)
    assert values["base_stderr"] == pytest.approx(error)
    low, high = values["base_interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert not values["lower_is_better"]


def test_a_metric_that_is_no_mean_is_computed_for_each_draw() -> None:
    base, tuned = results([1.0, 2.0, 3.0, 9.0]), results([2.0, 3.0, 4.0, 10.0])
    base["higher_is_better"]["t"]["acc"] = False
    task = SimpleNamespace(aggregation=lambda: {"acc": largest})
    values = compare_task("t", base, tuned, task)["acc,none"]
    assert values["base_interval"][1] == 9.0 and values["base_interval"][0] < 9.0
    assert values["difference_interval"] == [1.0, 1.0]
    assert values["lower_is_better"]


def test_a_group_has_the_intervals_of_its_standard_errors() -> None:
    base, tuned = results([0.0, 1.0] * 50), results([1.0, 1.0] * 50)
    values = compare_group("t", base, tuned)["acc,none"]
    error = statistics.stdev([0.0, 1.0] * 50) / 10
    reach = 1.959964 * error
    assert values["base_interval"] == pytest.approx([0.5 - reach, 0.5 + reach])
    assert values["difference_interval"] == pytest.approx([0.5 - reach, 0.5 + reach])
    assert values["tuned_stderr"] == 0.0


def test_a_standard_error_that_lm_eval_does_not_know_is_none() -> None:
    unknown = results([0.0, 1.0], **{"acc_stderr,none": "N/A"})
    assert compare_group("t", unknown, unknown)["acc,none"]["base_stderr"] is None


def test_a_metric_that_is_not_a_number_is_left_out_and_named() -> None:
    good, bad = results([0.0, 1.0]), results([0.0, 1.0], **{"acc,none": math.nan})
    assert metric_names("t", good, good) == (["acc,none"], [])
    assert metric_names("t", good, bad) == ([], ["acc,none"])
    assert compare_group("t", good, bad) == {}


def fragile(values: list[float]) -> float:
    return 1 / (max(values) - min(values))


def test_without_a_bootstrap_the_intervals_are_those_of_the_standard_errors() -> None:
    """Draws of one row only have no such metric."""
    both = results([0.0, 1.0])
    values = compare_task("t", both, both, SimpleNamespace(aggregation=lambda: {"acc": fragile}))
    assert values == compare_group("t", both, both)


def test_rows_show_what_each_model_finds_likeliest() -> None:
    first, second = samples_of("t", results([0.0, 0.0]), results([2.0, 0.0]))
    assert (first["base"], first["tuned"], first["prompt"]) == ("yes", "no", "Q:")
    assert second["scores"] == {"base": {"acc": 0.0}, "tuned": {"acc": 0.0}}
