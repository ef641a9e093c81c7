"""The proof of a merge catches what it is there for: drift, and no effect."""

from __future__ import annotations

import pytest
import torch

from sftplay.errors import RefusedError
from sftplay.model.merging.proof import LIMIT, differ, judge


def _logits(seed: int = 0) -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn((length, 50), generator=stream) for length in (5, 9)]


def test_the_largest_difference_and_the_agreement() -> None:
    ours = _logits()
    theirs = [part.clone() for part in ours]
    theirs[1][3, 7] += 0.25
    found = differ(ours, theirs)
    assert found.positions == 14 and found.max_logit_difference == pytest.approx(0.25)
    theirs[0][2, 4] += 100
    assert differ(ours, theirs).top1_agreement == pytest.approx(13 / 14)


def test_a_tie_may_go_either_way() -> None:
    ours, theirs = torch.zeros((1, 4)), torch.zeros((1, 4))
    ours[0, 1], ours[0, 2] = 1.0, 0.9999
    theirs[0, 1], theirs[0, 2] = 0.9999, 1.0
    found = differ([ours], [theirs])
    assert found.top1_agreement == 1 and found.ties == 1
    judge(found, differ([ours], [ours + 1]))


def test_a_sound_merge_passes() -> None:
    base = _logits()
    beside = [part + 1 for part in base]
    judge(differ(beside, [part + LIMIT / 100 for part in beside]), differ(base, beside))


def test_drift_is_refused() -> None:
    base = _logits()
    beside = [part + 1 for part in base]
    with pytest.raises(RefusedError, match="drift"):
        judge(differ(beside, [part + 2 * LIMIT for part in beside]), differ(base, beside))


def test_another_first_token_is_drift_however_small_the_step() -> None:
    beside = torch.zeros((1, 4))
    beside[0, 1], beside[0, 2] = 1.0, 0.997
    merged = beside.clone()
    merged[0, 2] += 0.006
    with pytest.raises(RefusedError, match="drift"):
        judge(differ([beside], [merged]), differ([torch.zeros((1, 4))], [merged]))


def test_no_effect_is_refused() -> None:
    base = _logits()
    for effect in (0.0, 1e-7):
        with pytest.raises(RefusedError, match="no effect"):
            judge(None, differ(base, [part + effect for part in base]))


def test_an_effect_within_the_noise_is_none() -> None:
    base = _logits()
    noise = differ(base, [part + 0.002 for part in base])
    with pytest.raises(RefusedError, match="no effect"):
        judge(noise, differ(base, [part + 0.001 for part in base]))


def test_nonsense_is_refused() -> None:
    base = _logits()
    broken = [part * float("nan") for part in base]
    with pytest.raises(RefusedError, match="not finite"):
        differ(base, broken)
