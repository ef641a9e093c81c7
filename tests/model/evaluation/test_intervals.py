"""Bootstrap intervals against the normal approximation, and metrics of all rows against their own
functions.
"""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest

from sftplay.model.evaluation.intervals import intervals, mean_of, ratio_of
from sftplay.model.evaluation.metrics import chrf, chrf_sums


def test_a_mean_has_the_interval_of_the_normal_approximation() -> None:
    chance = random.Random(1)
    values = [chance.gauss(40, 15) for _ in range(400)]
    (low, high), other, _ = intervals(mean_of(values), mean_of(values))
    reach = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    assert low == pytest.approx(mean - reach, abs=0.15 * reach)
    assert high == pytest.approx(mean + reach, abs=0.15 * reach)
    assert other == (low, high)


def test_a_difference_keeps_what_both_have_in_common() -> None:
    chance = random.Random(2)
    base = [chance.gauss(40, 15) for _ in range(50)]
    tuned = [value + 1 for value in base]
    (low, high), _, difference = intervals(mean_of(base), mean_of(tuned))
    assert high - low > 5
    assert difference == pytest.approx((1, 1))


def test_a_loss_weighs_tokens_and_not_rows() -> None:
    rows = [(10.0, 100), (10.0, 1)]
    sums = ratio_of(rows)
    assert sums.of(sums.rows.sum(0, keepdims=True))[0] == pytest.approx(20 / 101)
    (low, high), *_ = intervals(sums, sums)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(10))


def test_chrf_of_all_rows_is_the_corpus_score() -> None:
    answers = ["a hand mixer", "check the motor", "", "Grüße aus München"]
    references = ["the hand mixer", "check the handle", "write again", "Grüße aus Wien"]
    sums = chrf_sums(answers, references)
    (score,) = sums.of(np.array([sums.rows.sum(0)]))
    assert score == pytest.approx(chrf(answers, references))


def test_the_same_rows_give_the_same_interval() -> None:
    values = [1.0, 5.0, 9.0, 2.0]
    assert intervals(mean_of(values), mean_of(values)) == intervals(
        mean_of(values), mean_of(values)
    )
