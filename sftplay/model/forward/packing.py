"""`train.packing`: rows of a pass lie end to end, without padding, and no row sees another.

SDPA is called for each row on its own, so that its kernel computes nothing across rows and needs no
mask. FlashAttention and transformers' eager attention tell rows apart by their positions, Unsloth
by their lengths. Whether that works for a model is proven on rows before it is trained.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from sftplay.errors import ConfigError
from sftplay.model.forward.collate import Collator, Packer, on_device
from sftplay.model.lean import attention as blocks

NAME = "sftplay_rows"  # of the attention function, in transformers' registry
BLOCKS_NAME = f"{blocks.KERNEL}_rows"  # the same with another kernel for each row
PACKED = {
    "sdpa": NAME,
    blocks.KERNEL: BLOCKS_NAME,
}  # attention of a padded batch → of rows end to end
APART = 0.1  # of what mixed rows differ by: what is left when they are kept apart is rounding


def within_rows(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a model's forward, other than the ids, that keep rows apart which lie
    end to end.

    Args:
        inputs: a batch of `Packer`.
    """
    positions, lengths = inputs["position_ids"], inputs["row_lengths"]
    given = {"position_ids": positions, "attention_mask": None}
    if model.config._attn_implementation in PACKED.values():
        return {**given, "row_lengths": lengths}
    if _is_unsloth():
        return {
            **given,
            "packed_seq_lengths": torch.tensor(lengths, dtype=torch.int32, device=positions.device),
        }
    return given


def keep_rows_apart(model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prepare a model for rows end to end, and prove on two of them that it keeps them apart.

    Args:
        rows: input_ids and labels of two rows.

    Raises:
        ConfigError: this model's attention, or another of its parts, mixes them (78).
    """
    first, second = map(dict, rows)
    alone = _hidden(model, Collator(0)([second]))
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    packed = PACKED.get(base.config._attn_implementation)
    if packed and not _is_unsloth():
        _register()
        base.set_attn_implementation(packed)
    both = Packer()([first, second])
    places = slice(len(first["input_ids"]), None)
    try:
        together = _hidden(model, both)[places]
        mixed = _hidden(
            model, Packer()([{key: [*first[key], *second[key]] for key in ("input_ids", "labels")}])
        )[places]
    except (TypeError, ValueError, NotImplementedError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise _not_here(f"its forward pass does not take rows end to end ({said})") from error
    rest, leak = float((together - alone).norm()), float((mixed - alone).norm())
    if not rest <= APART * leak:
        raise _not_here("its attention, or another part of it, would mix rows that lie end to end")


def _not_here(why: str) -> ConfigError:
    return ConfigError(
        f"this model can't be trained with packing in this stack: {why}",
        where="train.packing",
        todo="--set train.packing=false: rows of like length share a batch anyway, so there is little padding",
    )


def _is_unsloth() -> bool:
    """True if Unsloth computes in this process: it replaces transformers' models for all of it."""
    return "unsloth" in sys.modules


@torch.no_grad()
def _hidden(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return the input of the output layer, (tokens, hidden size), for a batch of one sequence;
    modes are put back.
    """
    seen: list[torch.Tensor] = []
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _module, args: seen.append(args[0][0].float()))
    batch = on_device(batch, head.weight.device)
    sight = within_rows(model, batch) if "row_lengths" in batch else {}
    was_training = model.training
    model.eval()
    try:
        model(input_ids=batch["input_ids"], use_cache=False, **sight)
    finally:
        handle.remove()
        model.train(was_training)
    return seen[0]


def _register() -> None:
    """Under transformers' registry.

    No mask function goes with it: without one, models make no mask.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(NAME, partial(_attend, sdpa_attention_forward))
    AttentionInterface.register(BLOCKS_NAME, partial(_attend, blocks.attend))


def _attend(
    kernel: Any,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    row_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """A kernel for each row; the signature is that of transformers' attention functions, and
    `kernel`'s.

    Args:
        query, key, value: (batch, heads, tokens, head size), keys and values with fewer heads where
        they are shared.
        row_lengths: tokens of each row, laid end to end. None: the sequences are single rows,
            padded on the right or not at all.
        sliding_window: how many positions a position sees, itself included.

    Returns:
        (batch, tokens, heads, head size), and no weights.

    Raises:
        NotImplementedError: a mask, a bias or a cache, which this does not know.
    """
    if (
        attention_mask is not None
        or other.get("position_bias") is not None
        or query.shape[2] != key.shape[2]
    ):
        raise NotImplementedError("attention with a mask, a bias or a cache")
    lengths = [query.shape[2]] if row_lengths is None else list(row_lengths)
    results = [
        kernel(
            module,
            q,
            k,
            v,
            _window(q.shape[2], sliding_window, q.device),
            dropout,
            scaling,
            **other,
        )[0]
        for q, k, v in zip(
            *(each.split(lengths, dim=2) for each in (query, key, value)), strict=True
        )
    ]
    return torch.cat(results, dim=1), None


def _window(length: int, size: int | None, device: torch.device) -> torch.Tensor | None:
    """Return the mask of visible positions, (length, length), if a window hides some; else None."""
    if size is None or length <= size:
        return None
    places = torch.arange(length, device=device)
    behind = places[:, None] - places[None, :]
    return (behind >= 0) & (behind < size)
