"""Abilities of a template, as the probes find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.data.rendering.probe import TemplateTraits, find_traits
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.tokenizer import TokenizerFacts, read_tokenizer
from sftplay.errors import DataError
from tests.data.models import CHATML, GEMMA_LIKE, GEMMA_SPECIALS, NAMED, save_model

PHI_LIKE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
CHATML_SPECIALS = ("<|im_start|>", "<|im_end|>")


@pytest.fixture
def tokenizer(tmp_path: Path) -> TokenizerFacts:
    specials = (*CHATML_SPECIALS, *GEMMA_SPECIALS, "<|end|>", "<|user|>", "<|assistant|>")
    return read_tokenizer(save_model(tmp_path, None, NAMED, specials))


def traits(tokenizer: TokenizerFacts, source: str, eot: str | None = None) -> TemplateTraits:
    return find_traits(ChatTemplate(source, tokenizer.named), tokenizer, eot)


def test_the_eos_token_where_it_closes_turns(tokenizer: TokenizerFacts) -> None:
    found = traits(tokenizer, CHATML.replace("<|im_end|>", "</s>"))
    assert found.eot.value == "</s>"
    assert "eos" in found.eot.reason
    assert found.eot_id == tokenizer.special["</s>"]


def test_another_special_token_where_the_eos_does_not(tokenizer: TokenizerFacts) -> None:
    assert traits(tokenizer, GEMMA_LIKE).eot.value == "<end_of_turn>"


def test_an_eos_behind_the_whole_conversation_closes_no_turn(tokenizer: TokenizerFacts) -> None:
    assert traits(tokenizer, PHI_LIKE).eot.value == "<|end|>"


def test_the_config_s_own(tokenizer: TokenizerFacts) -> None:
    found = traits(tokenizer, PHI_LIKE.replace("<|end|>", "#"), "#")
    assert found.eot.value == "#"
    assert found.eot.reason == "data.eot"


@pytest.mark.parametrize("eot", ["</turn>", ""])
def test_an_end_of_turn_of_several_tokens_is_refused(tokenizer: TokenizerFacts, eot: str) -> None:
    with pytest.raises(DataError, match="not one token"):
        traits(tokenizer, PHI_LIKE, eot)


def test_a_template_without_an_end_of_turn_is_refused(tokenizer: TokenizerFacts) -> None:
    with pytest.raises(DataError, match="never learn to stop") as refused:
        traits(tokenizer, CHATML.replace("<|im_end|>", ""))
    assert "data.eot" in refused.value.todo


def test_system_turns(tokenizer: TokenizerFacts) -> None:
    assert traits(tokenizer, CHATML).system_supported
    assert not traits(tokenizer, GEMMA_LIKE).system_supported
    silent = CHATML.replace(
        "{{ '<|im_start|>'", "{% if message.role != 'system' %}{{ '<|im_start|>'"
    ).replace("'\n' }}{% endfor", "'\n' }}{% endif %}{% endfor")
    assert not traits(tokenizer, silent).system_supported


def test_a_default_system_prompt_is_found(tokenizer: TokenizerFacts) -> None:
    default = (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Smol.<|im_end|>\n{% endif %}"
        + CHATML
    )
    assert traits(tokenizer, default).default_system == "You are Smol."
    assert traits(tokenizer, CHATML).default_system == ""


def test_words_in_front_of_everything_are_found(tokenizer: TokenizerFacts) -> None:
    found = traits(tokenizer, "<|im_start|>system\nKnowledge ends in 2023.<|im_end|>\n" + CHATML)
    assert "Knowledge ends in 2023." in found.preamble
    assert traits(tokenizer, CHATML).preamble == ""


def test_what_the_model_writes_before_its_answer_is_found(tokenizer: TokenizerFacts) -> None:
    thinking = CHATML.replace(
        "message['content']",
        "('<think></think>' if message.role == 'assistant' else '') + message.content",
    )
    assert traits(tokenizer, thinking).answer_prefix == "<think></think>"


def test_image_templates_are_refused(tokenizer: TokenizerFacts) -> None:
    parts = CHATML.replace("message['content']", "''")
    with pytest.raises(DataError, match="lists of parts"):
        traits(tokenizer, parts)
