"""Cross entropy at the trained positions alone: the vocabulary matrix is never multiplied with a
prompt's position.

A hook in front of the output layer keeps the hidden states whose next token is trained. It sits
inside the model, so whatever the model does to its logits afterwards (soft caps, scales) still
happens. Where it does nothing to them, output layer and loss are done together in `head`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from sftplay.model.forward.collate import IGNORED, Collate, on_device
from sftplay.model.forward.head import has_plain_head, head_loss
from sftplay.model.forward.packing import within_rows


def target_loss(
    model: Any, inputs: dict[str, Any], *, plain_head: bool = False
) -> tuple[torch.Tensor, int]:
    """Summed cross entropy (nats, fp32) over the trained tokens of a batch, and their number.

    Args:
        inputs: input_ids, attention_mask and labels of shape (rows, length), padded on the right;
            labels are aligned with
            input_ids, so position t predicts label t + 1. Or rows end to end, as `Packer` lays
            them.
        plain_head: what `has_plain_head` said of this model.
    """
    total, count, _ = loss_and_hits(model, inputs, plain_head=plain_head)
    return total, count


def loss_and_hits(
    model: Any, inputs: dict[str, Any], *, plain_head: bool = False
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """`target_loss`, and how many of the trained tokens are the model's likeliest one; of equally
    likely tokens any counts.
    """
    states, targets, _ = _at_targets(model, inputs, plain_head=plain_head)
    total, hits = _summed(model, states, targets, plain_head=plain_head)
    return total, len(targets), hits


def row_losses(
    model: Any, inputs: dict[str, Any], *, plain_head: bool = False
) -> list[tuple[float, int]]:
    """`target_loss` of each row of a padded batch."""
    states, targets, counts = _at_targets(model, inputs, plain_head=plain_head)
    parts = zip(states.split(counts), targets.split(counts), strict=True)
    sums = (_summed(model, *part, plain_head=plain_head)[0] for part in parts)
    return [(float(total) if n else 0.0, n) for total, n in zip(sums, counts, strict=True)]


def _at_targets(
    model: Any, inputs: dict[str, Any], *, plain_head: bool
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Return hidden states (plain head) or logits at the trained positions, the tokens wanted
    there, and how many each row has.
    """
    shifted = inputs["labels"][:, 1:]
    keep = shifted != IGNORED
    bare = unwrapped(model)
    with _only(bare, keep, hold=plain_head) as held:
        logits = model(
            input_ids=inputs["input_ids"], use_cache=False, **_visibility(bare, inputs)
        ).logits
    return held[0] if plain_head else logits[0], shifted[keep], keep.sum(1).tolist()


def _summed(
    model: Any, states: torch.Tensor, targets: torch.Tensor, *, plain_head: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    if plain_head:
        return head_loss(states, _whole(unwrapped(model).get_output_embeddings().weight), targets)
    with torch.no_grad():
        wanted = states.gather(1, targets.unsqueeze(1))
        hits = (wanted == states.amax(dim=-1, keepdim=True)).sum()
    return cross_entropy(states.float(), targets, reduction="sum"), hits


def unwrapped(model: Any) -> Any:
    """Return the model inside DDP's wrapper, which knows neither config nor output layer.

    Forward passes go through the wrapper all the same: it prepares the exchange of gradients.
    """
    return model.module if isinstance(model, DistributedDataParallel) else model


def _whole(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight that FSDP2 has divided among the ranks in one piece, with its derivative."""
    full = getattr(weight, "full_tensor", None)
    return weight if full is None else full()


def _visibility(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that tell the model which positions see each other."""
    if "row_lengths" in inputs:
        return within_rows(model, inputs)
    return {"attention_mask": _mask(model, inputs)}


def _mask(model: Any, inputs: dict[str, Any]) -> torch.Tensor | None:
    """None where causal attention alone keeps padding out of sight: behind a row, nothing that
    counts looks at it.

    Without a mask the kernel skips the upper half of the attention matrix, and no mask is built.
    """
    mask: torch.Tensor = inputs["attention_mask"]
    on_the_right = bool((mask[:, 1:] <= mask[:, :-1]).all())
    config = model.config
    causal = getattr(config, "is_causal", True) and not getattr(
        config, "use_bidirectional_attention", False
    )
    return None if on_the_right and causal else mask


@contextmanager
def _only(model: Any, keep: torch.Tensor, *, hold: bool) -> Iterator[list[torch.Tensor]]:
    """Let only the hidden states at `keep`, shape (rows, length - 1), reach the output layer, as
    (1, kept, hidden).

    With `hold` they are put into the list that this yields instead, (kept, hidden), and the layer
    gets one of them.
    """
    held: list[torch.Tensor] = []

    def select(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0][:, :-1][keep.to(args[0].device)]
        if hold:
            held.append(hidden)
            hidden = hidden[:1].detach()
        return (hidden.unsqueeze(0), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield held
    finally:
        handle.remove()


def mean_target_loss(
    model: Any,
    rows: Sequence[dict[str, Any]],
    collator: Collate,
    batch_size: int,
    advance: Any = None,
) -> tuple[float, int]:
    """Mean loss per trained token over rows (every token weighs the same), and the number of
    tokens. The arguments are those of `summed_target_loss`.
    """
    total, tokens = summed_target_loss(model, rows, collator, batch_size, advance)
    return total / max(tokens, 1), tokens


@torch.no_grad()
def summed_target_loss(
    model: Any,
    rows: Sequence[dict[str, Any]],
    collator: Collate,
    batch_size: int,
    advance: Any = None,
    share: tuple[int, int] = (0, 1),
) -> tuple[float, int]:
    """Summed loss over the trained tokens of rows, and their number.

    Args:
        rows: anything with len() and integer indexing that yields input_ids and labels.
        advance: called with the number of rows done, for progress.
        share: rank and number of ranks: the batches are dealt out one after another.
    """
    total, tokens = 0.0, 0
    plain_head = has_plain_head(model)
    for batch, numbers in _batches(model, rows, collator, batch_size, share):
        loss, count = target_loss(model, batch, plain_head=plain_head)
        total, tokens = total + loss.item(), tokens + count
        if advance:
            advance(len(numbers))
    return total, tokens


@torch.no_grad()
def each_row_loss(
    model: Any,
    rows: Sequence[dict[str, Any]],
    collator: Collate,
    batch_size: int,
    advance: Any,
) -> list[tuple[float, int]]:
    """Return summed loss and number of trained tokens of each row; the arguments are those of
    `mean_target_loss`, with a collator that pads.
    """
    found: dict[int, tuple[float, int]] = {}
    plain_head = has_plain_head(model)
    for batch, numbers in _batches(model, rows, collator, batch_size):
        found.update(zip(numbers, row_losses(model, batch, plain_head=plain_head), strict=True))
        advance(len(numbers))
    return [found[number] for number in range(len(rows))]


def _batches(
    model: Any,
    rows: Sequence[dict[str, Any]],
    collator: Collate,
    batch_size: int,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Yield batches of rows of like length with their numbers, while the model evaluates."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), i))
    rank, ranks = share
    was_training = model.training
    model.eval()
    try:
        for start in range(rank * batch_size, len(order), ranks * batch_size):
            numbers = order[start : start + batch_size]
            yield on_device(collator([rows[i] for i in numbers]), model.device), numbers
    finally:
        model.train(was_training)
