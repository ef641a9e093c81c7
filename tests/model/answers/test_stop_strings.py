"""Texts that end an answer, wherever the borders of its tokens are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from sftplay.model.answers.generate import Request, answers
from sftplay.model.answers.sampling import Sampling
from sftplay.model.answers.stop_strings import StopWatch, before_stop
from sftplay.model.answers.stream import Stream
from tests.model.random_models import random_model, write_model

TEXT = "She sold 48 clips.\nUser: how many clips in May? 你好"


@pytest.fixture(scope="module", params=["Llama", "GPT2"])
def tuned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_model(request.param, tmp_path_factory.mktemp(request.param))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    model = random_model(
        request.param, vocab_size=size, eos_token_id=2, max_position_embeddings=512
    )
    return model, tokenizer


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        (["\nUser:"], "She sold 48 clips."),
        (["clips in"], "She sold 48 clips.\nUser: how many "),
        (["sold", "She sold 48"], "She "),
        (["lips", "clips"], "She sold 48 "),
        (["好"], TEXT[:-1]),
        (["nowhere"], TEXT),
    ],
)
def test_what_is_safe_never_takes_a_part_of_a_stop_text(
    tuned: Any, stop: list[str], left: str
) -> None:
    tokenizer = tuned[1]
    watch, shown = StopWatch(stop, tokenizer), ""
    for token in tokenizer(TEXT)["input_ids"]:
        watch.read(token)
        assert watch.safe.startswith(shown) and left.startswith(watch.safe)
        shown = watch.safe
        if watch.stopped:
            break
    assert before_stop(watch.text, stop) == left
    assert watch.stopped == (left != TEXT) and watch.safe in (left, TEXT[: len(shown)])


def _by_transformers(tuned: Any, prompt: list[int], stop: list[str], new: int) -> list[int]:
    model, tokenizer = tuned
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, eos_token_id=2, pad_token_id=2,
        stop_strings=stop, tokenizer=tokenizer,
    )  # fmt: skip
    return [token for token in made[0, len(prompt) :].tolist() if token != 2]


@pytest.mark.parametrize("own", [True, False], ids=["ours", "generate"])
def test_answers_end_where_those_of_transformers_do(tuned: Any, own: bool) -> None:
    model, tokenizer = tuned
    prompts = [tokenizer(text)["input_ids"] for text in ("How many clips?", "Paris", "It is 72.")]
    texts = [tokenizer.decode(_by_transformers(tuned, ids, ["☃"], 24)) for ids in prompts]
    stop = [text[9:12] for text in texts if text[9:12].isascii() and text[9:12].strip()]
    assert stop, texts
    requests = [Request(key, ids) for key, ids in enumerate(prompts)]
    sampling, watch = Sampling(24, stop=tuple(stop)), StopWatch(stop, tokenizer)
    found = dict(answers(model, requests, sampling, [2], 2, 2, own=own, watch=watch))
    wanted = [_by_transformers(tuned, ids, stop, 24) for ids in prompts]
    assert [found[key].ids for key in range(len(prompts))] == wanted
    assert any(found[key].ended and len(found[key].ids) < 24 for key in found)
    stream = Stream(model, [2], 2, own=own)
    assert list(stream.tokens(prompts[0], sampling, watch.fresh())) == wanted[0]
    assert stream.ended == found[0].ended
