"""The answer to one prompt, token by token, in a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.generate import Sampling, choose, stream_of


class Stream:
    """One conversation's tokens as they are written. What a new prompt has in common with the last
    one is not computed again.

    Attributes:
        ended: the model ended its last answer itself.
    """

    def __init__(self, model: Any, stop_ids: Sequence[int], pad_id: int) -> None:
        self._batch, self._stop_ids = Batch(model, pad_id), stop_ids
        self._seen: list[int] = []  # tokens whose keys and values are at hand
        self._turn = 0
        self.ended = False

    @torch.inference_mode()
    def tokens(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Answer one prompt, token by token, without the one that ends it."""
        self._turn, self.ended = self._turn + 1, False
        generators = [stream_of(sampling, self._turn)]
        logits = self._read(list(ids))
        for _ in range(sampling.max_new_tokens):
            token = choose(logits, sampling, generators)[0]
            self.ended = token in self._stop_ids
            if self.ended:
                return
            yield token
            self._seen.append(token)
            logits = self._batch.step([token])

    def _read(self, ids: list[int]) -> torch.Tensor:
        """Logits behind the prompt; (1, vocabulary)."""
        shared = 0
        while shared < min(len(self._seen), len(ids) - 1) and self._seen[shared] == ids[shared]:
            shared += 1
        self._seen = ids
        if not self._batch.flexible or not shared:
            self._batch.clear()
            return self._batch.join([ids])
        self._batch.crop(shared)
        return self._batch.extend([ids[shared:]])
