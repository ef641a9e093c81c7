"""Figures of an evaluation as the host reads them: whatever else may stand in metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sftplay.runs import TASK_PREFIX
from sftplay.significance import LOWER_IS_BETTER, MARKS, Verdict, judge, show_number


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric before and after training.

    Attributes:
        interval: 95 % interval of the difference; None where an older version measured it.
        rows: how many it was measured on.
        lower_is_better: of a metric that is not ours, as the record says.
    """

    name: str
    split: str
    base: float
    tuned: float
    interval: tuple[float, float] | None
    rows: int
    lower_is_better: bool = False

    @classmethod
    def read(cls, name: str, split: str, record: Mapping[str, Any]) -> MeasuredMetric | None:
        """Read it from metrics.json; None where it is not there."""
        metrics, counted = record.get("metrics"), record.get("rows")
        values: Any = metrics.get(name) if isinstance(metrics, Mapping) else None
        base, tuned = number_in(values, "base"), number_in(values, "tuned")
        if base is None or tuned is None:
            return None
        counts = counted.values() if isinstance(counted, Mapping) else ()
        rows = sum(count for count in counts if isinstance(count, int))
        lower = name in LOWER_IS_BETTER or values.get("lower_is_better") is True
        return cls(name, split, base, tuned, _interval_in(values), rows, lower)

    @property
    def difference(self) -> float:
        return self.tuned - self.base

    @property
    def gain(self) -> float:
        """The difference, positive where it is an improvement."""
        return -self.difference if self.lower_is_better else self.difference

    @property
    def verdict(self) -> Verdict:
        return judge(self.name, self.interval, self.rows, lower_is_better=self.lower_is_better)

    def shown(self, form: str) -> str:
        """`12.1 → 30.4`, with a word where that is no improvement."""
        mark = MARKS[self.verdict]
        base, tuned = (show_number(value, form) for value in (self.base, self.tuned))
        return f"{base} → {tuned}" + (f" ({mark})" if mark else "")


def title_of(split: str, kind: str = "") -> str:
    """Name an evaluation by its folder: a split, or a task of lm-eval.

    Args:
        kind: the word behind the name of a split.
    """
    if split.startswith(TASK_PREFIX):
        return f"task {split.removeprefix(TASK_PREFIX)} (lm-eval)"
    return f"{split} {kind}".rstrip()


def _interval_in(values: Any) -> tuple[float, float] | None:
    try:
        low, high = values["difference_interval"]
        return float(low), float(high)
    except (KeyError, TypeError, ValueError):  # an older version's, or not what sftplay writes
        return None


def number_in(values: object, key: str) -> float | None:
    """A number in a mapping; None for everything else that may stand there."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
