"""The answer to one prompt, token by token, in a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.sampling import Sampling, choose, stream_of
from sftplay.model.answers.stop_strings import AnswerStream, StopWatch
from sftplay.model.answers.whole import whole_answer


class Stream(AnswerStream):
    """One conversation's tokens as they are written. What a new prompt has in common with the last
    one is not computed again.

    Args:
        own: by our decoder; else by transformers' generate, whose answers come as a whole.
    """

    def __init__(
        self, model: Any, stop_ids: Sequence[int], pad_id: int, *, own: bool = True
    ) -> None:
        super().__init__(stop_ids)
        self._batch = Batch(model, pad_id) if own else None
        self._model, self._pad_id = model, pad_id
        self._seen: list[int] = []  # tokens whose keys and values are at hand
        self._turn = 0

    @torch.inference_mode()
    def tokens(
        self, ids: Sequence[int], sampling: Sampling, watch: StopWatch | None = None
    ) -> Iterator[int]:
        """Answer one prompt, token by token, without the one that ends it.

        Args:
            watch: sees the texts that end an answer; it reads what this yields.
        """
        self._turn, self.ended = self._turn + 1, False
        generator = stream_of(sampling, self._turn)
        found = (
            self._steps(self._batch, list(ids), sampling, generator)
            if self._batch
            else whole_answer(
                self._model,
                ids,
                sampling,
                self._stop_ids,
                self._pad_id,
                generator,
                watch and watch.fresh(),
            )
        )
        yield from self._until_end(found, watch)

    def _steps(
        self, batch: Batch, ids: list[int], sampling: Sampling, generator: torch.Generator | None
    ) -> Iterator[int]:
        logits = self._read(batch, ids)
        for _ in range(sampling.max_new_tokens):
            token = choose(logits, sampling, [generator], [self._seen])[0]
            yield token
            self._seen.append(token)
            logits = batch.step([token])

    def _read(self, batch: Batch, ids: list[int]) -> torch.Tensor:
        """Logits behind the prompt; (1, vocabulary)."""
        shared = 0
        while shared < min(len(self._seen), len(ids) - 1) and self._seen[shared] == ids[shared]:
            shared += 1
        self._seen = ids
        if not batch.flexible or not shared:
            batch.clear()
            return batch.join([ids])
        batch.crop(shared)
        return batch.extend([ids[shared:]])
