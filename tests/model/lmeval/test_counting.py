"""Progress of lm-eval's requests."""

from __future__ import annotations

import pytest

from sftplay.data.progress import ProgressBar
from sftplay.model.lmeval.counting import _Counter


def test_the_first_line_counts_the_whole_first_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 requests, 8 a batch, 10 seconds each: 70 seconds are left after the first one, not 630."""
    now = [0.0]
    monkeypatch.setattr("sftplay.data.progress.time.monotonic", lambda: now[0])
    monkeypatch.delenv("SFTPLAY_TERMINAL", raising=False)
    counter = _Counter(ProgressBar(64, "request", "base: likelihoods"))
    counter.count()  # the first batch begins
    now[0] = 10.0
    for _ in range(8):
        counter.add_partial("loglikelihood", ("q", "a"), (-1.0, False))
    counter.count()  # the second one begins
    printed = capsys.readouterr()
    assert "12% of 64 requests" in printed.err + printed.out
    assert "1:10 left" in printed.err + printed.out


def test_the_tokens_of_a_batch_count_while_it_is_written() -> None:
    """16 requests, 8 a batch, of at most 4 tokens; the first batch ends after 3."""
    bar = ProgressBar(16, "request", "base: answers")
    counter = _Counter(bar)
    (step,) = counter.steps_of(8, 4)
    seen = []
    for number in range(3):
        assert step(None, number) == number
        seen.append(bar.done)
    assert seen == [2, 4, 6]
    for _ in range(8):
        counter.add_partial("generate_until", ("q", {}), "a")
    counter.count()
    assert bar.done == 8
    (step,) = counter.steps_of(8, 4)
    for _ in range(9):  # a batch that is tried again is not counted twice
        step(None, None)
    assert bar.done == 16
