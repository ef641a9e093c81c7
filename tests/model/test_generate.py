"""Answers from a batch that rows join and leave are those that each prompt gets alone, from transformers' own generate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from sftplay.errors import NonFiniteError, OutOfMemoryError
from sftplay.model.decoding import Batch
from sftplay.model.generate import Answer, Request, Sampling, Stream, answers, choose

VOCABULARY, PAD = 96, 0
STOPS = [7, 20, 33, 46, 59, 72]  # several, so that some answers of a random model end
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": STOPS,
    "pad_token_id": PAD,
}  # fmt: skip
FAMILIES = {
    "Llama": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma3Text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "Phi3": {},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 48},  # learned positions
    "Bloom": {"n_layer": 2, "n_head": 4},  # no position ids at all
    "Qwen3_5Text": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },  # a state instead of keys and values
}


def _model(family: str) -> Any:
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **FAMILIES[family]})
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    return _model("Llama")


def _prompts(count: int = 9) -> list[list[int]]:
    """Prompts of 2 to 30 tokens."""
    stream = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 31, (count,), generator=stream).tolist()
    return [torch.randint(8, VOCABULARY, (length,), generator=stream).tolist() for length in lengths]


def _alone(model: Any, prompt: list[int], new: int) -> list[int]:
    """What transformers' generate writes to one prompt, without the stop token."""
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, eos_token_id=STOPS, pad_token_id=PAD
    )  # fmt: skip
    return [token for token in made[0, len(prompt) :].tolist() if token not in STOPS]


def _all(model: Any, prompts: list[list[int]], size: int, sampling: Sampling) -> dict[int, Answer]:
    requests = [Request(key, ids) for key, ids in enumerate(prompts)]
    return dict(answers(model, requests, sampling, STOPS, PAD, size))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_each_prompt_alone(family: str) -> None:
    model, prompts = _model(family), _prompts()
    found = _all(model, prompts, 4, Sampling(20))
    assert [found[key].ids for key in range(len(prompts))] == [_alone(model, prompt, 20) for prompt in prompts]
    assert all(answer.ended == (len(answer.ids) < 20) for answer in found.values())


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_changes_no_answer(llama: Any, size: int) -> None:
    prompts = _prompts(13)
    assert _all(llama, prompts, size, Sampling(16)) == _all(llama, prompts, 5, Sampling(16))


def test_some_answers_end_by_themselves_and_some_are_cut(llama: Any) -> None:
    """Without both kinds the tests above would prove little."""
    assert {answer.ended for answer in _all(llama, _prompts(13), 5, Sampling(16)).values()} == {True, False}


def test_prompts_are_taken_as_there_is_room(llama: Any) -> None:
    taken = []

    def requests() -> Iterator[Request]:
        for key, ids in enumerate(_prompts(12)):
            taken.append(key)
            yield Request(key, ids)

    first, _ = next(answers(llama, requests(), Sampling(8), STOPS, PAD, 4))
    assert first in range(4 + 1) and len(taken) <= 5


def test_a_request_may_want_a_shorter_answer(llama: Any) -> None:
    requests = [Request(key, ids, limit=2) for key, ids in enumerate(_prompts(3))]
    for key, answer in answers(llama, requests, Sampling(16), STOPS, PAD, 2):
        assert answer.ids == _alone(llama, _prompts(3)[key], 2)


def test_sampled_answers_depend_on_the_prompt_and_not_on_its_neighbours(llama: Any) -> None:
    sampling = Sampling(12, temperature=1.5, top_p=0.9, seed=4)
    together = _all(llama, _prompts(), 4, sampling)
    assert together == _all(llama, _prompts(), 1, sampling)
    assert together != _all(llama, _prompts(), 4, Sampling(12, temperature=1.5, top_p=0.9, seed=5))


def test_top_p_leaves_out_the_unlikely() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    stream = torch.Generator().manual_seed(0)
    drawn = {choose(logits, Sampling(1, temperature=1.0, top_p=0.7), [stream])[0] for _ in range(200)}
    assert drawn == {0, 1}


class _SmallMemory(Batch):
    """A batch on a device that has no room for more than three rows."""

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[0] > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(ids)

    rows = 3


def test_a_full_memory_means_smaller_batches(llama: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    wanted = _all(llama, _prompts(13), 8, Sampling(16))
    monkeypatch.setattr("sftplay.model.generate.Batch", _SmallMemory)
    assert _all(llama, _prompts(13), 8, Sampling(16)) == wanted
    assert "out of GPU memory with 8 rows at a time: going on with 4" in capsys.readouterr().err
    monkeypatch.setattr(_SmallMemory, "rows", 0)
    with pytest.raises(OutOfMemoryError):
        _all(llama, _prompts(3), 8, Sampling(16))


def test_memory_that_fills_up_in_the_middle_loses_no_token(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _all(llama, _prompts(6), 6, Sampling(16))
    steps = iter(range(100))

    class Fills(Batch):
        def _forward(self, ids: torch.Tensor) -> torch.Tensor:
            if next(steps) == 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._forward(ids)

    monkeypatch.setattr("sftplay.model.generate.Batch", Fills)
    assert _all(llama, _prompts(6), 6, Sampling(16)) == wanted


def test_nonsense_is_no_answer() -> None:
    model = _model("Llama")
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    with pytest.raises(NonFiniteError):
        _all(model, _prompts(2), 2, Sampling(4))


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen3_5Text"])
def test_a_conversation_goes_on_as_if_read_anew(family: str) -> None:
    """What a prompt shares with the one before is not computed again, and that can't be seen in the answers."""
    model = _model(family)
    stream, ids = Stream(model, STOPS, PAD), _prompts(1)[0]
    for extra in ([9, 10, 11], [12], [13, 14]):
        written = list(stream.tokens(ids, Sampling(10)))
        assert written == _alone(model, ids, 10)
        assert stream.ended == (len(written) < 10)
        ids = [*ids, *written, STOPS[0], *extra]
    other = [9, *ids[1:]]
    assert list(stream.tokens(other, Sampling(10))) == _alone(model, other, 10)


def test_only_what_is_new_is_read(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    forward = Batch._forward
    monkeypatch.setattr(Batch, "_forward", lambda self, ids: read.append(ids.shape[1]) or forward(self, ids))
    stream, ids = Stream(llama, [], PAD), _prompts(1)[0]
    written = list(stream.tokens(ids, Sampling(6)))
    read.clear()
    list(stream.tokens([*ids, *written, 9, 10], Sampling(1)))
    assert read[0] == 2


def test_an_answer_that_is_left_in_the_middle(llama: Any) -> None:
    stream, ids = Stream(llama, [], PAD), _prompts(1)[0]
    tokens = stream.tokens(ids, Sampling(10))
    begun = [next(tokens), next(tokens)]
    tokens.close()
    ids = [*ids, *begun, 9]
    assert list(stream.tokens(ids, Sampling(8))) == list(Stream(llama, [], PAD).tokens(ids, Sampling(8)))


def test_the_tiny_model_too(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    prompts = [[1, 20, 30, 40 + n] * (n + 1) for n in range(5)]
    found = dict(answers(model, [Request(key, ids) for key, ids in enumerate(prompts)], Sampling(20), [2], 2, 2))
    for key, ids in enumerate(prompts):
        given = torch.tensor([ids])
        made = model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=20, do_sample=False
        )
        assert found[key].ids == [token for token in made[0, len(ids) :].tolist() if token != 2]
