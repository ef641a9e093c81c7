"""Products of few rows are those of the plain layer, for any number of rows, and only plain layers
in fp32 on the CPU change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sftplay.model.answers.generate import Request, answers
from sftplay.model.answers.sampling import Sampling
from sftplay.model.lean.few_rows import FEWEST, MOST, replace

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="PyTorch without MKL: nothing is replaced"
)


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "shape", [(1,), (FEWEST - 1,), (FEWEST,), (8, 3), (MOST, 1), (MOST + 1, 1), (2, 200), (0, 4)]
)
def test_the_products_are_the_plain_layers(shape: tuple[int, ...], bias: bool) -> None:
    chance = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(24, 40, bias=bias)
    x = torch.randn(*shape, 24, generator=chance)
    wanted = layer(x)
    assert replace(torch.nn.Sequential(layer)) == 1
    assert layer(x).shape == wanted.shape
    assert layer(x).is_contiguous()
    assert torch.allclose(layer(x), wanted, rtol=1e-5, atol=1e-6)


def test_answers_stay_as_they_are(tiny_model: Path) -> None:
    """Twenty rows, so that every step takes the other way."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()

    def all_answers() -> dict[int, Any]:
        requests = [Request(key, [1, 20, 30, 40 + key]) for key in range(20)]
        return dict(answers(model, requests, Sampling(12), [2], 2, 20))

    wanted = all_answers()
    assert replace(model)
    assert all_answers() == wanted


def test_other_layers_are_left_alone(tiny_model: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    assert (
        replace(torch.nn.Sequential(Linear4bit(8, 8), torch.nn.Linear(8, 8, dtype=torch.bfloat16)))
        == 0
    )
