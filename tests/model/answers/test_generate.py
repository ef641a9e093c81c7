"""Answers from a batch that rows join and leave are those that each prompt gets alone, from
transformers' own generate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sftplay.errors import NonFiniteError, OutOfMemoryError
from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.generate import Answer, Request, answers
from sftplay.model.answers.sampling import Sampling, choose
from sftplay.model.answers.stream import Stream
from sftplay.model.answers.whole import can_decode
from tests.model.random_models import (
    BY_GENERATE,
    FAMILIES,
    PAD,
    STOPS,
    alone,
    random_model,
    some_prompts,
)


@pytest.fixture(scope="module")
def llama() -> Any:
    return random_model("Llama")


def _all(
    model: Any, prompts: list[list[int]], size: int, sampling: Sampling, *, own: bool = True
) -> dict[int, Answer]:
    requests = [Request(key, ids) for key, ids in enumerate(prompts)]
    return dict(answers(model, requests, sampling, STOPS, PAD, size, own=own))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_each_prompt_alone(family: str) -> None:
    model, prompts = random_model(family), some_prompts()
    own = can_decode(model, PAD)
    assert own.value == (family not in BY_GENERATE), own.reason
    found = _all(model, prompts, 4, Sampling(20), own=own.value)
    assert [found[key].ids for key in range(len(prompts))] == [
        alone(model, prompt, 20) for prompt in prompts
    ]
    assert all(answer.ended == (len(answer.ids) < 20) for answer in found.values())


def test_generate_samples_as_our_decoder_does(llama: Any) -> None:
    """The same tokens by either way, in a file of prompts and in a conversation."""
    sampling = Sampling(12, temperature=1.5, top_p=0.9, seed=4)
    by_us = _all(llama, some_prompts(), 4, sampling)
    assert _all(llama, some_prompts(), 4, sampling, own=False) == by_us
    prompt = some_prompts()[0]
    streams = [Stream(llama, STOPS, PAD, own=own) for own in (True, False)]
    first, second = ([*stream.tokens(prompt, sampling)] for stream in streams)
    assert first == second and streams[0].ended == streams[1].ended


def test_penalties_of_the_base_change_no_answer(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _all(llama, some_prompts(), 4, Sampling(16))
    monkeypatch.setattr(llama.generation_config, "repetition_penalty", 3.0)
    assert _all(llama, some_prompts(), 4, Sampling(16), own=False) == wanted
    assert llama.generation_config.repetition_penalty == 3.0


def test_a_decoder_that_loses_the_state_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As a cache under a name that the model does not take."""
    model = random_model("Mamba")
    monkeypatch.setattr("sftplay.model.answers.decoding._CACHES", ("past_key_values",))
    assert not can_decode(model, PAD).value
    assert "transformers' generate" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_changes_no_answer(llama: Any, size: int) -> None:
    prompts = some_prompts(13)
    assert _all(llama, prompts, size, Sampling(16)) == _all(llama, prompts, 5, Sampling(16))


def test_some_answers_end_by_themselves_and_some_are_cut(llama: Any) -> None:
    """Without both kinds the tests above would prove little."""
    assert {answer.ended for answer in _all(llama, some_prompts(13), 5, Sampling(16)).values()} == {
        True,
        False,
    }


def test_prompts_are_taken_as_there_is_room(llama: Any) -> None:
    taken = []

    def requests() -> Iterator[Request]:
        for key, ids in enumerate(some_prompts(12)):
            taken.append(key)
            yield Request(key, ids)

    first, _ = next(answers(llama, requests(), Sampling(8), STOPS, PAD, 4))
    assert first in range(4 + 1) and len(taken) <= 5


def test_what_is_done_is_told_on_the_way(llama: Any) -> None:
    told: list[float] = []
    requests = [Request(key, ids) for key, ids in enumerate(some_prompts(13))]
    for count, _ in enumerate(
        answers(llama, requests, Sampling(16), STOPS, PAD, 5, told.append), 1
    ):
        assert sum(told) >= count - 1e-6
    assert sum(told) == pytest.approx(13)
    assert len(told) > 13 and min(told) >= 0


def test_a_request_may_want_a_shorter_answer(llama: Any) -> None:
    requests = [Request(key, ids, limit=2) for key, ids in enumerate(some_prompts(3))]
    for key, answer in answers(llama, requests, Sampling(16), STOPS, PAD, 2):
        assert answer.ids == alone(llama, some_prompts(3)[key], 2)


def test_sampled_answers_depend_on_the_prompt_and_not_on_its_neighbours(llama: Any) -> None:
    sampling = Sampling(12, temperature=1.5, top_p=0.9, seed=4)
    together = _all(llama, some_prompts(), 4, sampling)
    assert together == _all(llama, some_prompts(), 1, sampling)
    assert together != _all(
        llama, some_prompts(), 4, Sampling(12, temperature=1.5, top_p=0.9, seed=5)
    )


def test_top_p_leaves_out_the_unlikely() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    stream = torch.Generator().manual_seed(0)
    drawn = {
        choose(logits, Sampling(1, temperature=1.0, top_p=0.7), [stream])[0] for _ in range(200)
    }
    assert drawn == {0, 1}


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_memory_for_keys_and_values_bounds_the_rows(
    llama: Any, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Two layers, two heads of 8 numbers in fp32, keys and values: 256 bytes a position; 26
    positions a row.
    """
    prompts: list[list[int]] = [[8 + key] * 10 for key in range(13)]
    seen = []
    forward = Batch._forward

    def spy(batch: Batch, ids: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch._mask))
        return forward(batch, ids)

    wanted = _all(llama, prompts, 13, Sampling(16))
    monkeypatch.setattr(Batch, "_forward", spy)
    monkeypatch.setattr(
        "sftplay.model.answers.generate.for_answers", lambda device: rows * 26 * 256
    )
    assert _all(llama, prompts, 13, Sampling(16)) == wanted
    assert max(seen) == min(rows, 13)


class _SmallMemory(Batch):
    """A batch on a device that has no room for more than three rows."""

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[0] > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(ids)

    rows = 3


def test_a_full_memory_means_smaller_batches(
    llama: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    wanted = _all(llama, some_prompts(13), 8, Sampling(16))
    monkeypatch.setattr("sftplay.model.answers.generate.Batch", _SmallMemory)
    assert _all(llama, some_prompts(13), 8, Sampling(16)) == wanted
    assert "out of GPU memory with 8 rows at a time: continuing with 4" in capsys.readouterr().err
    monkeypatch.setattr(_SmallMemory, "rows", 0)
    with pytest.raises(OutOfMemoryError):
        _all(llama, some_prompts(3), 8, Sampling(16))


def test_memory_that_fills_up_in_the_middle_loses_no_token(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _all(llama, some_prompts(6), 6, Sampling(16))
    steps = iter(range(100))

    class Fills(Batch):
        def _forward(self, ids: torch.Tensor) -> torch.Tensor:
            if next(steps) == 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._forward(ids)

    monkeypatch.setattr("sftplay.model.answers.generate.Batch", Fills)
    assert _all(llama, some_prompts(6), 6, Sampling(16)) == wanted


def test_nonsense_is_no_answer() -> None:
    model = random_model("Llama")
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    with pytest.raises(NonFiniteError):
        _all(model, some_prompts(2), 2, Sampling(4))


def test_the_tiny_model_too(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    prompts = [[1, 20, 30, 40 + n] * (n + 1) for n in range(5)]
    found = dict(
        answers(
            model, [Request(key, ids) for key, ids in enumerate(prompts)], Sampling(20), [2], 2, 2
        )
    )
    for key, ids in enumerate(prompts):
        given = torch.tensor([ids])
        made = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=20,
            do_sample=False,
        )
        assert found[key].ids == [token for token in made[0, len(ids) :].tolist() if token != 2]
