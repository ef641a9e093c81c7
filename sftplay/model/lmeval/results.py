"""From lm-eval's results of both models to one record of a task: metrics side by side, with standard
errors and 95 % intervals. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from sftplay.model.evaluation.intervals import (
    ROUNDS,
    Interval,
    intervals,
    mean_of,
    resampled_intervals,
)

BOOTSTRAP = ROUNDS  # rounds of lm-eval's own bootstrap, for metrics that are no mean
_SLOW = ("bleu", "chrf", "chrf++", "ter")  # over all answers each time: 100 rounds, as in lm-eval
_Z = 1.959963984540054  # of a normal distribution, 95 % within

Results = Mapping[str, Any]  # what lm-eval's `evaluate` returns


def metric_names(name: str, base: Results, tuned: Results) -> tuple[list[str], list[str]]:
    """Return the metrics of a task, as lm-eval names them (metric, filter): those that are numbers
    for both models, and the others, such as a correlation where all answers are the same.
    """
    both = [one["results"][name] for one in (base, tuned)]
    names = [key for key in both[0] if "," in key and "_stderr," not in key]
    good = [key for key in names if all(_is_number(one.get(key)) for one in both)]
    return good, [key for key in names if key not in good]


def _is_number(value: Any) -> TypeGuard[float]:
    """Return whether it is a number that JSON can hold; a metric of one class only is NaN."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def compare_task(name: str, base: Results, tuned: Results, task: Any) -> dict[str, dict[str, Any]]:
    """Return every metric of a task for both models.

    Args:
        task: lm-eval's, which knows how values become a metric.
    """
    found = {}
    for metric in metric_names(name, base, tuned)[0]:
        kind, _, filtered = metric.partition(",")
        both = [_values(one, name, kind, filtered) for one in (base, tuned)]
        ends = _intervals(kind, task.aggregation().get(kind), both) or _normal_intervals(
            name, metric, base, tuned
        )
        higher = base["higher_is_better"].get(name, {}).get(kind)
        found[metric] = _compared(metric, name, base, tuned, ends, higher=higher)
    return found


def compare_group(name: str, base: Results, tuned: Results) -> dict[str, dict[str, Any]]:
    """Return every metric of a group, which is one of its tasks' metrics. Its intervals are those of
    a normal distribution with lm-eval's standard errors.
    """
    found = {}
    for metric in metric_names(name, base, tuned)[0]:
        higher = base["higher_is_better"].get(name, {}).get(metric.partition(",")[0])
        ends = _normal_intervals(name, metric, base, tuned)
        found[metric] = _compared(metric, name, base, tuned, ends, higher=higher)
    return found


def _normal_intervals(name: str, metric: str, base: Results, tuned: Results) -> list[Interval]:
    """Return intervals of base, tuned and their difference, as if both had been measured on rows of
    their own.
    """
    values = [float(one["results"][name][metric]) for one in (base, tuned)]
    errors = [_stderr(one, name, metric) or 0.0 for one in (base, tuned)]
    values.append(values[1] - values[0])
    errors.append((errors[0] ** 2 + errors[1] ** 2) ** 0.5)
    return [(v - _Z * e, v + _Z * e) for v, e in zip(values, errors, strict=True)]


def _compared(
    metric: str,
    name: str,
    base: Results,
    tuned: Results,
    ends: Sequence[Interval],
    *,
    higher: bool | None,
) -> dict[str, Any]:
    first, second = (float(one["results"][name][metric]) for one in (base, tuned))
    return {
        "base": first,
        "tuned": second,
        "difference": second - first,
        "base_stderr": _stderr(base, name, metric),
        "tuned_stderr": _stderr(tuned, name, metric),
        **{
            f"{key}_interval": list(end)
            for key, end in zip(("base", "tuned", "difference"), ends, strict=True)
        },
        "lower_is_better": higher is False,
    }


def _stderr(results: Results, name: str, metric: str) -> float | None:
    kind, _, filtered = metric.partition(",")
    value = results["results"][name].get(f"{kind}_stderr,{filtered}")
    return float(value) if _is_number(value) else None


def _values(results: Results, name: str, metric: str, filtered: str) -> list[Any]:
    """Return what each row gave for a metric, in the order of the rows."""
    return [
        sample[metric]
        for sample in results["samples"][name]
        if sample["filter"] == filtered and metric in sample
    ]


def _intervals(
    metric: str, aggregate: Callable[[Any], float] | None, both: Sequence[list[Any]]
) -> Sequence[Interval] | None:
    """Return the intervals by bootstrap; None where the models have no rows in common, or a draw
    of rows has no such metric.
    """
    base, tuned = both
    if not base or len(base) != len(tuned):
        return None
    if aggregate is None or getattr(aggregate, "__name__", "") == "mean":
        return intervals(mean_of([float(v) for v in base]), mean_of([float(v) for v in tuned]))
    try:
        ends = resampled_intervals(base, tuned, aggregate, 100 if metric in _SLOW else ROUNDS)
    except ArithmeticError:
        return None
    return ends if all(map(math.isfinite, (end for pair in ends for end in pair))) else None


def samples_of(name: str, base: Results, tuned: Results) -> list[dict[str, Any]]:
    """Return one entry a row: prompt, reference, what both models answered, and their scores."""
    first, second = (one["samples"][name] for one in (base, tuned))
    return [
        {
            "id": str(one["doc_id"]),
            "filter": one["filter"],
            "prompt": str(one["arguments"][0][0]),
            "reference": str(one["target"]),
            "base": _answer(one),
            "tuned": _answer(other),
            "scores": {"base": _scores(one), "tuned": _scores(other)},
        }
        for one, other in zip(first, second, strict=True)
    ]


def _answer(sample: Mapping[str, Any]) -> str:
    """Return what a model answered: its text, or the likeliest of several continuations."""
    responses = sample["filtered_resps"]
    if not isinstance(responses[0], (list, tuple)):
        return str(responses[0])
    if len(responses) == 1:
        return f"log-likelihood {float(responses[0][0]):.6g}"
    best = max(range(len(responses)), key=lambda place: float(responses[place][0]))
    return str(sample["arguments"][best][-1]).strip()


def _scores(sample: Mapping[str, Any]) -> dict[str, float]:
    values = {name: sample.get(name) for name in sample["metrics"]}
    return {name: float(value) for name, value in values.items() if _is_number(value)}
