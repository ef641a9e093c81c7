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
                self.set_cache_hook(_Counter(bar))
                yield

    return CountingLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


class _Counter:
    """A cache that keeps nothing: it counts the responses that lm-eval would have it keep."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar

    def add_partial(self, kind: str, request: Any, response: Any) -> None:
        self._bar.advance()
