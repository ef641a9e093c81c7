"""Models as lm-eval asks them, with our progress."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sftplay.data.progress import ProgressBar, progress

if TYPE_CHECKING:
    from collections.abc import Iterator


def language_model(model: Any, tokenizer: Any, batch_size: int, title: str) -> Any:
    """Return `model` as lm-eval asks it.

    Args:
        title: which model it is, in front of the progress.
    """
    from lm_eval.models.huggingface import HFLM

    class CountingLM(HFLM):  # type: ignore[misc]
        _counter: _Counter | None = None

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
            with self._counting(requests, "likelihoods"):
                return super().loglikelihood(requests, disable_tqdm=True)

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
            with self._counting(requests, "likelihoods"):
                return super().loglikelihood_rolling(requests, disable_tqdm=True)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
            with self._counting(requests, "answers"):
                return super().generate_until(requests, disable_tqdm=True)

        @contextmanager
        def _counting(self, requests: Sequence[Any], what: str) -> Iterator[None]:
            with progress(len(requests), "request", f"{title}: {what}") as bar:
                self._counter = _Counter(bar)
                self.set_cache_hook(self._counter)
                yield
                self._counter.count()

        def _model_call(self, *given: Any, **named: Any) -> Any:
            self._end_batch()
            return super()._model_call(*given, **named)

        def _model_generate(self, context: Any, max_length: int, stop: Any, **named: Any) -> Any:
            self._end_batch()
            if self._counter is not None:
                steps = max_length - context.shape[1]
                named["logits_processor"] = self._counter.steps_of(len(context), steps)
            return super()._model_generate(context, max_length, stop, **named)

        def _end_batch(self) -> None:
            """Count the batch before: a new one begins."""
            if self._counter is not None:
                self._counter.count()

    return CountingLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


class _Counter:
    """A cache that keeps nothing: it counts the responses that lm-eval would have it keep.

    They come one by one at the end of a batch, and count all at once: a bar that took the first one
    for all that a batch's seconds brought would show a far too long time left. While a batch of
    answers is written, each token counts as its part of the longest answer allowed.
    """

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self._new = 0
        self._ahead = 0.0  # counted of the batch that is being written

    def add_partial(self, kind: str, request: Any, response: Any) -> None:
        self._new += 1

    def steps_of(self, rows: int, steps: int) -> list[Any]:
        """Return what transformers calls at each token of a batch; it changes nothing.

        Args:
            steps: tokens of the longest answer allowed.
        """

        def step(ids: Any, scores: Any) -> Any:
            part = min(rows / max(steps, 1), rows - self._ahead)
            self._ahead += part
            self._bar.advance(part)
            return scores

        return [step]

    def count(self) -> None:
        """Count what came since the last call."""
        if self._new:
            self._bar.advance(self._new - self._ahead)
            self._new, self._ahead = 0, 0.0
