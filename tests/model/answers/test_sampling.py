"""Choosing tokens as transformers' own generate does with the same settings: in a batch, in a
conversation, and where generate answers instead of our decoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sftplay.model.answers.generate import Request, answers
from sftplay.model.answers.sampling import Sampling, choose
from sftplay.model.answers.stream import Stream
from tests.model.random_models import PAD, STOPS, random_model, some_prompts

KEY, NEW = 3, 24
GREEDY = Sampling(NEW, repetition_penalty=1.4)
DRAWN = Sampling(NEW, temperature=1.3, seed=4)
SETTINGS = [
    GREEDY,
    replace(DRAWN, top_k=12),
    replace(DRAWN, min_p=0.1),
    replace(DRAWN, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.2),
]


@pytest.fixture(scope="module", params=["Llama", "GPT2"])
def model(request: pytest.FixtureRequest) -> Any:
    return random_model(request.param)


def _by_transformers(model: Any, prompt: list[int], sampling: Sampling, key: int) -> list[int]:
    """The answer of generate, by its own processors and its own draws from one random stream."""
    drawn = sampling.temperature > 0
    more = {"top_k": sampling.top_k, "top_p": sampling.top_p, "min_p": sampling.min_p or None}
    torch.manual_seed((sampling.seed * 1_000_003 + key) % 2**63)
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=sampling.max_new_tokens, eos_token_id=STOPS, pad_token_id=PAD,
        do_sample=drawn, repetition_penalty=sampling.repetition_penalty, **({"temperature": sampling.temperature, **more} if drawn else {}),
    )  # fmt: skip
    return [token for token in made[0, len(prompt) :].tolist() if token not in STOPS]


@pytest.mark.parametrize("sampling", SETTINGS, ids=["penalty", "top_k", "min_p", "all"])
@pytest.mark.parametrize("own", [True, False], ids=["ours", "generate"])
def test_a_batch_is_answered_as_by_transformers(model: Any, sampling: Sampling, own: bool) -> None:
    prompts = some_prompts()
    requests = [Request(key, ids) for key, ids in enumerate(prompts)]
    found = dict(answers(model, requests, sampling, STOPS, PAD, 4, own=own))
    wanted = [_by_transformers(model, ids, sampling, key) for key, ids in enumerate(prompts)]
    assert [found[key].ids for key in range(len(prompts))] == wanted
    plain = dict(answers(model, requests, replace(DRAWN, max_new_tokens=NEW), STOPS, PAD, 4))
    assert any(plain[key].ids != wanted[key] for key in range(len(prompts)))


@pytest.mark.parametrize("own", [True, False], ids=["ours", "generate"])
@pytest.mark.parametrize("sampling", [GREEDY, SETTINGS[-1]], ids=["penalty", "all"])
def test_a_conversation_is_answered_as_by_transformers(
    model: Any, sampling: Sampling, own: bool
) -> None:
    stream, ids = Stream(model, STOPS, PAD, own=own), some_prompts(1)[0]
    for turn in (1, 2):
        written = list(stream.tokens(ids, sampling))
        assert written == _by_transformers(model, ids, sampling, turn)
        ids = [*ids, *written, STOPS[0], 9, 10]


def test_the_penalty_ends_a_loop(model: Any) -> None:
    """A greedy answer that repeats itself has more different tokens with it."""

    def different(sampling: Sampling) -> int:
        requests = [Request(key, ids) for key, ids in enumerate(some_prompts())]
        return sum(
            len({*answer.ids}) for _, answer in answers(model, requests, sampling, [], PAD, 4)
        )

    assert different(Sampling(60, repetition_penalty=1.5)) > 1.5 * different(Sampling(60))


def test_a_token_beyond_the_output_layer_is_not_penalized() -> None:
    """As where an embedding has more rows than the output layer."""
    logits = torch.tensor([[3.0, 2.9, -1.0]])
    sampling = Sampling(1, repetition_penalty=2.0)
    assert choose(logits, sampling, [None], [[0, 0, 7]]) == [1]
    assert logits.tolist()[0][0] == 3.0


def test_a_record_from_before_a_setting_existed_names_the_same_answers() -> None:
    assert Sampling(5).identity == {"max_new_tokens": 5}
    assert Sampling(5, 0.7, 0.9, seed=3).identity == {
        "max_new_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
    }
    assert Sampling(5, repetition_penalty=1.1, stop=("a",), top_k=9, seed=3).identity == {
        "max_new_tokens": 5,
        "repetition_penalty": 1.1,
        "stop": ["a"],
    }


def test_settings_without_effect_are_known() -> None:
    assert Sampling(5, top_k=9, min_p=0.1).unused == ["top_k", "min_p"]
    assert Sampling(5, 0.5, top_k=9).unused == [] == Sampling(5, repetition_penalty=1.1).unused
