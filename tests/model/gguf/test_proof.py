"""The comparison of a GGUF file's next tokens, next to PyTorch's own divergence."""

from __future__ import annotations

import pytest
import torch

from sftplay.errors import RefusedError
from sftplay.model.gguf.proof import (
    FLOORS,
    GgufDifference,
    advise,
    compare,
    judge,
    require_same_tokens,
)


def test_the_numbers_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(n, 50, generator=generator) for n in (3, 5)]
    theirs = [each + 0.3 * torch.randn(each.shape, generator=generator) for each in ours]
    found = compare(ours, theirs)
    one, two = torch.cat(ours), torch.cat(theirs)
    kl = torch.nn.functional.kl_div(
        two.log_softmax(-1), one.log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert found.positions == 8
    assert found.mean_kl == pytest.approx(float(kl), rel=1e-4)
    assert found.max_logit_difference == pytest.approx(float((one - two).abs().max()))
    assert found.top1_agreement == float((one.argmax(-1) == two.argmax(-1)).float().mean())
    likely = one.softmax(-1)
    chosen = likely.gather(1, two.argmax(-1, keepdim=True))[:, 0]
    assert found.near_top1_agreement == float((chosen >= likely.max(-1).values / 2).float().mean())
    same = compare(ours, ours)
    assert (same.top1_agreement, same.mean_kl, same.max_logit_difference) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("quant", sorted(FLOORS))
def test_another_model_is_below_every_floor(quant: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (3 * torch.randn(40, 500, generator=generator) for _ in range(2))
    with pytest.raises(RefusedError, match=f"the {quant} file as llama.cpp reads it") as caught:
        judge(compare([ours], [theirs]), quant, "llama.cpp")
    assert caught.value.code == 76
    judge(compare([ours], [ours]), quant, "llama.cpp")


def test_a_finer_format_must_reach_more() -> None:
    floors = [FLOORS[quant] for quant in ("q4_k_m", "q8_0", "f16")]
    assert sorted(floors, key=lambda one: one.near_top1) == floors
    assert sorted(floors, key=lambda one: -one.kl) == floors


@pytest.mark.parametrize(
    ("quant", "top1", "kl", "words"),
    [
        ("q4_k_m", 0.906, 0.085, None),  # the default model
        ("q4_k_m", 0.82, 0.085, ["82.0%", "--quant q8_0", "98.7%", "about 136.0 MB"]),
        ("q4_k_m", 0.95, 0.19, ["mean KL 0.19 (80.0 MB)", "--run demo --quant q8_0"]),
        ("q8_0", 0.987, 0.003, None),
        ("q8_0", 0.89, 0.02, ["--quant f16", "about 256.0 MB"]),
        ("f16", 0.5, 1.0, None),  # there is no finer one
    ],
)
def test_a_weak_file_names_the_format_that_keeps_more(
    quant: str, top1: float, kl: float, words: list[str] | None
) -> None:
    found = GgufDifference(100, 1.0, top1, 1.0, kl)
    advice = advise(found, quant, "demo", size=80_000_000, weights=128_000_000)
    assert (advice is None) == (words is None)
    assert all(word in str(advice) for word in words or []), advice


def test_numbers_that_are_none_are_refused() -> None:
    fine, broken = torch.zeros(2, 5), torch.full((2, 5), float("nan"))
    with pytest.raises(RefusedError, match="not finite"):
        compare([fine], [broken])
    with pytest.raises(RefusedError, match="vocabulary has 4 tokens, the model's 5"):
        compare([fine], [torch.zeros(2, 4)])


def test_other_tokens_are_named() -> None:
    require_same_tokens(["ab"], [[1, 2]], [[1, 2]])
    with pytest.raises(RefusedError, match=r"3 instead of 2, different from number 2 on, in 'ab'"):
        require_same_tokens(["x", "ab"], [[7], [1, 2]], [[7], [1, 3, 4]])
