"""Rows that are decoded together, one token a step: rows join, leave and make room while the others
continue.

Prompts of different lengths stand right-aligned, padding is masked by position. Keys and values lie
in buffers with room for more, so that a step copies its own token and not the whole past.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sftplay.errors import NonFiniteError

# Names that models give to the cache that they are called with.
_CACHES = ("past_key_values", "cache", "cache_params")  # `cache` from transformers 5.24 on
_ROOM = 64  # positions that a buffer grows by


class _GrowingLayer(DynamicLayer):
    """Keys and values of one layer, each (rows, heads, positions, size): a part of buffers with
    room for more positions.

    Rows that leave, and padding that nobody needs, are left out of the part: hardly anything is
    moved.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffers: list[torch.Tensor] = []
        self._rows = self._begin = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Any:
        """Add positions and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold((key_states, value_states))
            return self.keys, self.values
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._begin + new > self._buffers[0].shape[-2]:
            self.hold(self.states, room=max(_ROOM, new - old))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, self._begin + old : self._begin + new] = states
        self.show(new)
        return self.keys, self.values

    @property
    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all positions."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def hold(self, states: Sequence[torch.Tensor], room: int = _ROOM) -> None:
        """Hold these keys and values instead, with room for more behind them."""
        length = states[0].shape[-2]
        self._buffers = [
            each.new_empty((*each.shape[:2], length + room, each.shape[3])) for each in states
        ]
        for buffer, each in zip(self._buffers, states, strict=True):
            buffer[:, :, :length] = each
        self._rows, self._begin = states[0].shape[0], 0
        self.show(length)

    def show(self, length: int) -> None:
        """Count the first `length` positions and no others."""
        end = self._begin + length
        self.keys, self.values = (
            buffer[: self._rows, :, self._begin : end] for buffer in self._buffers
        )

    def shrink(self, rows: int, moved: torch.Tensor, places: torch.Tensor, start: int) -> None:
        """Continue with the first `rows` rows, once the `moved` ones have taken free `places`, and
        without the first `start` positions.
        """
        for each in self.states:
            each[places] = each[moved]
        length = self.get_seq_length() - start
        self._rows, self._begin = rows, self._begin + start
        self.show(length)


class Batch:
    """The rows in flight of one model.

    Attributes:
        flexible: rows may join and leave at any time. Not so for models that keep a state instead
            of keys and values
            (Mamba and other linear attention): their rows start and end together.
    """

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model, self.pad_id, self.device = model, pad_id, model.device
        layers = DynamicCache(config=model.config).layers
        self.flexible = all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
        )
        # Mamba and its like: all that they keep of a prompt is a state
        self._stateful = not any(isinstance(layer, DynamicLayer) for layer in layers)
        self._count = len(layers)
        forward = (model.get_base_model() if hasattr(model, "get_base_model") else model).forward
        self._accepts = set(inspect.signature(forward).parameters)
        self._cache_name = next((name for name in _CACHES if name in self._accepts), _CACHES[0])
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._layers: list[_GrowingLayer] = []
        self._cache: Cache | None = None
        self._mask = torch.ones((0, 0), dtype=torch.long, device=self.device)

    def position_bytes(self) -> int:
        """Bytes of keys and values that a position of one row takes; seen, not reckoned:
        architectures differ.
        """
        self.join([[self.pad_id]])
        taken = sum(
            each.numel() * each.element_size() for layer in self._layers for each in layer.states
        )
        self.clear()
        return taken

    def join(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Add rows behind those that are there; logits for their first tokens, (new rows,
        vocabulary), fp32.

        Raises:
            NonFiniteError: the model computes nonsense (80).
        """
        old, old_mask = self._layers, self._mask
        ids, self._mask = self._aligned(prompts)
        self._layers = [_GrowingLayer() for _ in range(self._count)] if self.flexible else []
        self._cache = (
            Cache(layers=[*self._layers])
            if self.flexible
            else DynamicCache(config=self.model.config)
        )
        logits = self._forward(ids)
        if not torch.isfinite(logits).all():
            raise NonFiniteError(
                "the model's output is not finite",
                todo="try --set train.precision=fp32; or the weights are damaged",
            )
        if old:
            self._put_in_front(old, old_mask)
        return logits

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Give each row its next token; logits for the one after it, (rows, vocabulary), fp32."""
        return self.extend([[token] for token in tokens])

    def extend(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Give each row several next tokens, as many as the others; logits for the one after them."""
        new = torch.tensor(tokens, dtype=torch.long, device=self.device)
        self._mask = torch.cat([self._mask, torch.ones_like(new)], dim=1)
        return self._forward(new)

    def keep(self, rows: Sequence[int]) -> Sequence[int]:
        """Let all other rows leave, and padding that no row needs any more; return the rows that are
        still there, in their new order.
        """
        if not self.flexible and rows:
            return range(self._mask.shape[0])
        if not rows:
            self.clear()
            return rows
        order, free = _closed_up(rows)
        mask = self._mask[torch.tensor(order, device=self.device)]
        start = int(mask.argmax(dim=1).min())
        self._mask = mask[:, start:]
        moved, places = (
            torch.tensor(each, dtype=torch.long, device=self.device)
            for each in ([order[place] for place in free], free)
        )
        for layer in self._layers:
            layer.shrink(len(order), moved, places, start)
        return order

    def crop(self, length: int) -> None:
        """Go back to the first `length` positions. For a flexible batch of one row."""
        for layer in self._layers:
            layer.show(length)
        self._mask = self._mask[:, :length]

    def _aligned(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of prompts that end together, each (rows, longest)."""
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.as_tensor(prompt, dtype=torch.long)
            mask[row, longest - len(prompt) :] = 1
        return ids.to(self.device), mask.to(self.device)

    def _put_in_front(self, layers: list[_GrowingLayer], mask: torch.Tensor) -> None:
        """Rows that were there before, in front of those that have just joined.

        Takes their memory, layer by layer.
        """
        length = max(mask.shape[1], self._mask.shape[1])
        for old, new in zip(layers, self._layers, strict=True):
            pairs = zip(old.states, new.states, strict=True)
            new.hold([torch.cat([_padded(each, length) for each in pair]) for pair in pairs])
            old.hold([each[:0] for each in old.states], room=0)
        masks = [each[:, None, :, None] for each in (mask, self._mask)]
        self._mask = torch.cat([_padded(each, length) for each in masks])[:, 0, :, 0]

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits behind the last of the new positions; ids (rows, new positions)."""
        given: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": self._mask,
            self._cache_name: self._cache,
        }
        if self._stateful and ids.shape[1] < self._mask.shape[1]:
            del given["attention_mask"]  # the state has taken the prompt's padding in already
        if "position_ids" in self._accepts:
            given["position_ids"] = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if "logits_to_keep" in self._accepts:
            given["logits_to_keep"] = 1
        logits: torch.Tensor = self.model(**given, use_cache=True).logits
        return logits[:, -1].float()


def _closed_up(rows: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows that stay, the hindmost moved into the places of those that leave; and which places
    those are.
    """
    count = len(rows)
    free = sorted({*range(count)} - {*rows})
    order = list(range(count))
    for place, row in zip(free, (row for row in sorted(rows) if row >= count), strict=True):
        order[place] = row
    return order, free


def _padded(states: torch.Tensor, length: int) -> torch.Tensor:
    """(rows, heads, positions, size) → the same with `length` positions, zeros in front."""
    missing = length - states.shape[2]
    return pad(states, (0, 0, missing, 0)) if missing else states
