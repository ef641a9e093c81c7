"""The loss at trained positions against PyTorch's own over the full logits: an independent oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sftplay.model.forward import loss as loss_module
from sftplay.model.forward.collate import IGNORED, Collator
from sftplay.model.forward.head import has_plain_head
from sftplay.model.forward.loss import each_row_loss, mean_target_loss, target_loss
from tests.model.forward.rows import ROWS
from tests.model.oracle import one_by_one


def test_loss_and_gradients_equal_full_logits(model: Any) -> None:
    expected, count = one_by_one(model, ROWS)
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total, tokens = target_loss(model, Collator(2)(ROWS))
    total.backward()
    assert tokens == count == 8
    assert torch.allclose(total, expected, rtol=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, wanted[name], rtol=1e-3, atol=1e-5), name
    model.zero_grad()


def test_the_hook_leaves_nothing_behind(model: Any) -> None:
    target_loss(model, Collator(2)(ROWS))
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape[:2] == (1, 3)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_mean_loss_weighs_every_token_the_same(model: Any, batch_size: int) -> None:
    total, count = one_by_one(model.eval(), ROWS)
    loss, tokens = mean_target_loss(model, ROWS, Collator(2), batch_size)
    assert tokens == count
    assert loss == pytest.approx(total.item() / count, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("plain", [True, False])
def test_each_row_has_its_own_loss(
    model: Any, batch_size: int, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "has_plain_head", lambda model: plain)
    empty = {"input_ids": [5, 6], "labels": [IGNORED, IGNORED]}
    done: list[int] = []
    found = each_row_loss(model, [*ROWS, empty], Collator(2), batch_size, done.append)
    for row, (total, count) in zip(ROWS, found, strict=False):
        wanted, tokens = one_by_one(model.eval(), [row])
        assert count == tokens
        assert total == pytest.approx(wanted.item(), rel=1e-5)
    assert found[3] == (0.0, 0)
    assert sum(done) == 4


def test_soft_capped_logits_keep_their_cap() -> None:
    """Gemma 2 caps its logits after the output layer: the hook must not step around that."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5, attn_implementation="eager",
    )  # fmt: skip
    capped = Gemma2ForCausalLM(config).eval()
    assert not has_plain_head(capped)
    expected, _ = one_by_one(capped, ROWS)
    total, _ = target_loss(capped, Collator(0)(ROWS))
    assert torch.allclose(total, expected, rtol=1e-4)
