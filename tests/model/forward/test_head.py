"""Output layer and loss in pieces, against both at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sftplay.model.forward.collate import IGNORED, Collator
from sftplay.model.forward.loss import loss_and_hits, target_loss
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


@pytest.mark.parametrize("plain_head", [False, True])
def test_hits_are_the_tokens_that_the_model_would_have_written(
    model: Any, monkeypatch: pytest.MonkeyPatch, plain_head: bool
) -> None:
    """A greedy answer of transformers is all hits; a token of it that is replaced is none."""
    from sftplay.model.forward import head

    monkeypatch.setattr(head, "POSITIONS", 3)
    prompt = torch.tensor([[5, 6, 7, 8]])
    made = model.eval().generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None)[0]
    ids = made.tolist()
    labels = [*[IGNORED] * 4, *ids[4:]]
    with torch.no_grad():
        *_, hits = loss_and_hits(model, Collator(2)([{"input_ids": ids, "labels": labels}]), plain_head=plain_head)  # fmt: skip
        assert int(hits) == 8
        labels[6] = (labels[6] + 1) % 100
        labels[9] = (labels[9] + 1) % 100
        rows = [{"input_ids": ids, "labels": labels}, ROWS[2]]
        _, count, hits = loss_and_hits(model, Collator(2)(rows), plain_head=plain_head)
        model.train()
    assert (count, int(hits) in (6, 7)) == (9, True)
