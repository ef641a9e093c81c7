"""Attention in blocks next to plain softmax attention in double precision, and what it leaves to
SDPA.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sftplay.model.lean import attention
from sftplay.model.lean.attention import BLOCK, KEPT, attend

LENGTHS = (2, BLOCK, BLOCK + 1, 3 * BLOCK + 5, KEPT + 3)


def _states(
    length: int, heads: int, shared: int, batch: int = 2, size: int = 16
) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(length)
    shapes = [(batch, length, count, size) for count in (heads, shared, shared)]
    return [torch.randn(shape, generator=chance).bfloat16().transpose(1, 2) for shape in shapes]


def _plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], dim=1) for each in (k, v))
    scores = q @ k.transpose(2, 3) * scale
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v).transpose(1, 2)


def _with_gradients(
    function: Any, states: list[torch.Tensor], number: torch.dtype
) -> list[torch.Tensor]:
    given = [each.detach().to(number).clone().requires_grad_() for each in states]
    out = function(*given)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(number)
    return [out.detach(), *torch.autograd.grad(out, given, grad)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (3, 3), (4, 1)])
def test_result_and_gradients_are_those_of_plain_attention(
    length: int, heads: int, shared: int
) -> None:
    layer, states = (
        SimpleNamespace(num_key_value_groups=heads // shared),
        _states(length, heads, shared),
    )
    ours = _with_gradients(
        lambda *given: attend(layer, *given, None, scaling=0.3)[0], states, torch.bfloat16
    )
    wanted = _with_gradients(lambda *given: _plain(*given, 0.3), states, torch.float64)
    for value, right in zip(ours, wanted, strict=True):
        assert value.dtype == torch.bfloat16
        assert float((value.double() - right).norm() / right.norm()) < 0.01


def _ran(
    *, states: list[torch.Tensor] | None = None, mask: torch.Tensor | None = None, **more: Any
) -> bool:
    """True if blocks ran: their derivative is ours."""
    q, k, v = states or _states(9, 4, 2)
    layer = SimpleNamespace(num_key_value_groups=2)
    out, _ = attend(layer, q.requires_grad_(), k, v, mask, **more)
    found, seen = [out.grad_fn], set()
    while found:
        node = found.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += [parent for parent, _ in node.next_functions]
    return any(type(node).__name__ == f"{attention._Attention.__name__}Backward" for node in seen)


def test_what_is_not_causal_whole_and_bf16_goes_to_sdpa() -> None:
    assert _ran()
    assert not _ran(states=[each.float() for each in _states(9, 4, 2)])
    assert not _ran(mask=torch.ones(9, 9, dtype=torch.bool).tril())
    assert not _ran(dropout=0.5)
    assert not _ran(is_causal=False)
    assert not _ran(position_bias=torch.zeros(1, 4, 9, 9))
    q, k, v = _states(9, 4, 2)
    assert not _ran(states=[q[:, :, -1:], k, v])  # decoding


def test_under_autocast_it_computes_in_bf16() -> None:
    states = [each.float() for each in _states(70, 4, 2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _ran(states=states)
