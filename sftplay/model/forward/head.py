"""Output layer and cross entropy together, some positions at a time: no matrix of positions ×
vocabulary is ever kept.

The derivative is taken on the way, as in Liger's fused linear cross entropy (arXiv:2410.10989):
with E = exp(logits − max) and s its row sums, the hidden states get E·W / s − W[target], so the
probabilities themselves are never written down.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

POSITIONS = 128  # at a time: 25 MB of logits at a vocabulary of 50,000


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hits = torch.zeros((), dtype=torch.long, device=hidden.device)
        for start in range(0, len(targets), POSITIONS):
            some, goal = hidden[start : start + POSITIONS], targets[start : start + POSITIONS]
            logits = linear(some, weight).float()
            top = logits.amax(dim=-1, keepdim=True)
            wanted = logits.gather(1, goal.unsqueeze(1))
            hits += (wanted == top).sum()
            weights = logits.sub_(top).exp_()
            sums = weights.sum(dim=-1, keepdim=True)
            total += (sums.log() + top - wanted).sum()
            if grad_hidden is not None:
                mixed = (weights.to(weight.dtype) @ weight).float().div_(sums)
                grad_hidden[start : start + POSITIONS] = mixed.sub_(weight[goal])
            if grad_weight is not None:
                grad_weight += weights.div_(sums).to(some.dtype).t() @ some
                grad_weight.index_add_(0, goal, some.to(grad_weight.dtype), alpha=-1)
        ctx.grads = grad_hidden, grad_weight
        ctx.mark_non_differentiable(hits)
        return total, hits

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight = (
            None if grad is None else grad * grads[0].to(grad.dtype) for grad in ctx.grads
        )
        return hidden, weight, None


def head_loss(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross entropy in nats, fp32; and how many targets are the likeliest token, of equally
    likely ones any.

    Args:
        hidden: (positions, hidden size); weight: of the output layer, (vocabulary, hidden size);
            targets: (positions,).
    """
    head: Any = _HeadLoss.apply
    total, hits = head(hidden, weight, targets)
    return total, hits


@torch.no_grad()
def has_plain_head(model: Any) -> bool:
    """True if the model's logits are its output layer's product and nothing else (Gemma 2 caps
    them, Cohere scales them).

    Found out by looking at two positions. fp16 is left to PyTorch: its loss has to be scaled before
    its derivative is taken.
    """
    head = model.get_output_embeddings()
    bias: Any = getattr(head, "bias", None)
    if type(head) is not torch.nn.Linear or bias is not None or head.weight.dtype == torch.float16:
        return False
    seen: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    was_training = model.training
    model.eval()  # dropout would draw from the random stream that training is to draw from
    try:
        tokens = torch.arange(2, device=head.weight.device).unsqueeze(0)
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        handle.remove()
        model.train(was_training)
    return len(seen) == 1 and torch.allclose(
        head(seen[0]).float(), logits.float(), rtol=1e-3, atol=1e-3
    )
