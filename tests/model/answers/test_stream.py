"""A conversation's answers are those of transformers' own generate, and what was read once is not
read again.
"""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.model.answers.decoding import Batch
from sftplay.model.answers.sampling import Sampling
from sftplay.model.answers.stream import Stream
from tests.model.random_models import PAD, STOPS, alone, random_model, some_prompts


@pytest.fixture(scope="module")
def llama() -> Any:
    return random_model("Llama")


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen3_5Text"])
def test_a_conversation_goes_on_as_if_read_anew(family: str) -> None:
    """The part of a prompt that the one before shares is not computed again, and that can't be seen
    in the answers.
    """
    model = random_model(family)
    stream, ids = Stream(model, STOPS, PAD), some_prompts(1)[0]
    for extra in ([9, 10, 11], [12], [13, 14]):
        written = list(stream.tokens(ids, Sampling(10)))
        assert written == alone(model, ids, 10)
        assert stream.ended == (len(written) < 10)
        ids = [*ids, *written, STOPS[0], *extra]
    other = [9, *ids[1:]]
    assert list(stream.tokens(other, Sampling(10))) == alone(model, other, 10)


def test_only_what_is_new_is_read(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    forward = Batch._forward
    monkeypatch.setattr(
        Batch, "_forward", lambda self, ids: read.append(ids.shape[1]) or forward(self, ids)
    )
    stream, ids = Stream(llama, [], PAD), some_prompts(1)[0]
    written = list(stream.tokens(ids, Sampling(6)))
    read.clear()
    list(stream.tokens([*ids, *written, 9, 10], Sampling(1)))
    assert read[0] == 2


def test_an_answer_that_is_left_in_the_middle(llama: Any) -> None:
    stream, ids = Stream(llama, [], PAD), some_prompts(1)[0]
    tokens = stream.tokens(ids, Sampling(10))
    begun = [next(tokens), next(tokens)]
    tokens.close()
    ids = [*ids, *begun, 9]
    assert list(stream.tokens(ids, Sampling(8))) == list(
        Stream(llama, [], PAD).tokens(ids, Sampling(8))
    )
