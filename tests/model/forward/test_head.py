"""Output layer and loss in pieces, against both at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sftplay.model.forward.collate import Collator
from sftplay.model.forward.loss import target_loss
from tests.model.forward.rows import ROWS


@pytest.mark.parametrize("trained_head", [False, True])
def test_the_head_in_pieces_equals_the_head_at_once(
    model: Any, monkeypatch: pytest.MonkeyPatch, trained_head: bool
) -> None:
    """Loss and gradients, also those of the vocabulary matrix where it is trained (it is tied to
    the input's here or not).
    """
    from sftplay.model.forward import head

    monkeypatch.setattr(head, "POSITIONS", 3)
    assert head.has_plain_head(model)
    model.get_output_embeddings().weight.requires_grad_(trained_head)
    expected, count = target_loss(model, Collator(2)(ROWS))
    (expected / count).backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total, _ = target_loss(model, Collator(2)(ROWS), plain_head=True)
    (total / count).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.get_output_embeddings().weight.requires_grad_(True)
    assert torch.allclose(total, expected, rtol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], rtol=1e-3, atol=1e-6), name
