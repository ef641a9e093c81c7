"""Answers by transformers' own generate, for models whose state our decoder does not keep.

One prompt at a time: what each prompt gets depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from sftplay import console
from sftplay.decision import Decision
from sftplay.errors import NonFiniteError
from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.sampling import Sampling, choose
from sftplay.model.answers.stop_strings import StopWatch

# Two prompts of different lengths, and a token that each goes on with.
_PROMPTS, _NEXT = ((1, 5, 3, 7, 2), (6, 4, 2)), (4, 1)
# Share of what a model without any memory of the prompt would be wrong by.
_EXACT, _ROUNDED = 0.01, 0.2


@torch.inference_mode()
def can_decode(model: Any, pad_id: int) -> Decision[bool]:
    """Compare our decoder's logits with the model's own without a cache, on two prompts and a step of
    both; if they differ, `whole_answer` is to be used, which is reported here, once.
    """
    try:
        wrong = _wrong_by(model, pad_id)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        said = next(iter(str(error).splitlines()), "")[:160]
        found = Decision(False, f"its cache can't be used ({type(error).__name__}: {said})")
    else:
        limit = _EXACT if model.dtype == torch.float32 else _ROUNDED
        if wrong <= limit:
            return Decision(True, "its logits are those of the model without a cache")
        found = Decision(
            False, f"with its cache, logits differ ({wrong:.2g} of what forgetting does)"
        )
    name = type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__
    console.warning(
        f"answers come from transformers' generate, one prompt at a time, which is slower: the"
        f" decoder of sftplay does not know the state of {name}: {found.reason}"
    )
    return found


def _wrong_by(model: Any, pad_id: int) -> float:
    """Largest difference of the decoder's logits from those without a cache, as a share of the
    difference that a model makes which sees the last token only.
    """
    batch, size = Batch(model, pad_id), int(model.get_input_embeddings().weight.shape[0])
    prompts = [[token % size for token in prompt] for prompt in _PROMPTS]
    following = [token % size for token in _NEXT]
    longer = [[*prompt, token] for prompt, token in zip(prompts, following, strict=True)]
    ours = [*batch.join(prompts), *batch.step(following)]
    worst = 0.0
    for found, ids in zip(ours, [*prompts, *longer], strict=True):
        expected, forgotten = _logits(model, ids), _logits(model, ids[-1:])
        apart = float((forgotten - expected).norm())
        worst = max(worst, float((found - expected).norm()) / max(apart, 1e-6))
    return worst


def _logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    given = torch.tensor([list(ids)], device=model.device)
    logits: torch.Tensor = model(input_ids=given, use_cache=False).logits[0, -1]
    return logits.float()


@torch.inference_mode()
def whole_answer(
    model: Any,
    ids: Sequence[int],
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
    generator: torch.Generator | None,
    watch: StopWatch | None = None,
) -> Iterator[int]:
    """The tokens of one answer, the one that ends it included.

    Args:
        watch: sees the texts that end an answer, where there are any.

    Raises:
        NonFiniteError: the model computes nonsense (80).
    """
    given = torch.tensor([list(ids)], dtype=torch.long, device=model.device)
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
    )
    with _without_own_config(model):
        made = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            generation_config=config,
            logits_processor=[_Choice(sampling, generator)],
            stopping_criteria=[_Stopped(watch)] if watch else None,
        )
    yield from made[0, len(ids) :].tolist()


class _Choice:
    """Leaves generate no choice but our token, so that sampling is the same by either decoder."""

    def __init__(self, sampling: Sampling, generator: torch.Generator | None) -> None:
        self._sampling, self._generator = sampling, generator

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(scores).all():
            raise NonFiniteError(
                "the model's output is not finite",
                todo="try --set train.precision=fp32; or the weights are damaged",
            )
        (token,) = choose(scores.float(), self._sampling, [self._generator], ids.tolist())
        only = torch.full_like(scores, float("-inf"))
        only[:, token] = 0
        return only


class _Stopped:
    """Tells generate that the answer has one of the texts that end it."""

    def __init__(self, watch: StopWatch) -> None:
        self._watch = watch

    def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.tensor([self._watch.read(int(ids[0, -1]))], device=ids.device)


@contextmanager
def _without_own_config(model: Any) -> Iterator[None]:
    """Without penalties and the like that a base's generation_config.json may ask for."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = base.generation_config
    base.generation_config = GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own
