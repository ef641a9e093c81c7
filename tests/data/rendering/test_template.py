"""Chat templates: the same text as transformers renders, the date frozen, untrusted Jinja kept in
its box.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sftplay.data.rendering.template import (
    ChatTemplate,
    RefusedConversationError,
    checked_template,
)
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.tokenizing.tokenizer import read_tokenizer
from sftplay.errors import DataError, NotFoundError
from sftplay.settings import DataSettings
from tests.data.models import CHATML, NAMED, byte_tokenizer, save_model, trl_templates

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": ' What is <b>"1+1"</b>?\n'},
    {"role": "assistant", "content": "2 & no more"},
    {"role": "user", "content": "Ärger? 🦊"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add <numbers> & more.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "ä"}},
                "required": ["a"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def transformers_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(NAMED.values()), **NAMED)


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
@pytest.mark.parametrize("name", sorted(trl_templates()))
def test_the_text_is_that_of_transformers(
    name: str, tools: Any, transformers_tokenizer: Any
) -> None:
    source = trl_templates()[name]
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[1:3]):
        for prompt in (False, True):
            try:
                theirs = transformers_tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    chat_template=source,
                    tokenize=False,
                    add_generation_prompt=prompt,
                )
            except Exception:  # noqa: BLE001  whatever theirs dies of, ours refuses
                with pytest.raises(RefusedConversationError):
                    ChatTemplate(source, NAMED).render(messages, prompt, tools)
            else:
                assert ChatTemplate(source, NAMED).render(messages, prompt, tools) == theirs


def test_the_date_is_the_one_it_was_given() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", date="2024-02-29")
    assert template.uses_date
    assert template.render([], add_generation_prompt=False) == "29 Feb 2024"
    today = ChatTemplate("{{ strftime_now('%Y') }}").render([], add_generation_prompt=False)
    assert today == str(datetime.now().year)
    assert not ChatTemplate(CHATML).uses_date


def test_a_refusal_holds_the_template_s_own_words() -> None:
    template = ChatTemplate("{{ raise_exception('System role not supported') }}")
    with pytest.raises(RefusedConversationError, match="System role not supported"):
        template.render(MESSAGES, add_generation_prompt=False)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ dict.update(messages[0], a=1) }}",
        "{{ namespace(_a=1) }}",
        "{% set n = namespace() %}{% set n._a = 1 %}",
        "{{ raise_exception.__globals__ }}",
        "{% for i in range(10000000) %}{% endfor %}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 / 0 }}",
        "{{ missing.attribute }}",
    ],
)
def test_what_a_template_may_not_do_is_a_refusal(source: str) -> None:
    messages = [dict(message) for message in MESSAGES]
    try:
        text = ChatTemplate(source).render(messages, add_generation_prompt=False)
    except RefusedConversationError:
        text = ""
    assert not text.strip("[]")
    assert messages == MESSAGES


def test_dictionaries_and_namespaces_work() -> None:
    source = "{% set n = namespace(a=1) %}{% set n.a = n.a + 1 %}{{ n.a }}{{ dict(b=3).b }}{{ dict.fromkeys('c', 4).c }}"
    assert ChatTemplate(source).render([], add_generation_prompt=False) == "234"


def test_a_template_that_is_not_jinja(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not valid Jinja") as broken:
        checked_template("line\n{% if %}", {}, None, "my.jinja")
    assert broken.value.where == "my.jinja:2"


def test_the_config_s_template_wins(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(save_model(tmp_path))
    own = tmp_path / "own.jinja"
    own.write_text("{{ bos_token }}ä")
    assert choose_template(DataSettings(), tokenizer).source == CHATML
    chosen = choose_template(DataSettings(chat_template=str(own)), tokenizer)
    assert chosen.render([], add_generation_prompt=False) == "<|im_start|>ä"
    assert chosen.hash != choose_template(DataSettings(), tokenizer).hash
    with pytest.raises(NotFoundError, match="chat template"):
        choose_template(DataSettings(chat_template=str(tmp_path / "gone.jinja")), tokenizer)


def test_no_template_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no chat template") as missing:
        choose_template(DataSettings(), read_tokenizer(save_model(tmp_path, None)))
    assert "data.chat_template" in missing.value.todo
