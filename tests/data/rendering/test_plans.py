"""Plans: whatever a template does with a text, rows put together without Jinja are those that Jinja
would have rendered.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay.data.rendering.cut import cut_rows
from sftplay.data.rendering.plans import Planner, planner_for
from sftplay.data.rendering.template import ChatTemplate
from sftplay.errors import DataError
from tests.data.models import CHATML, CHATML_NAMED

EOT = "<|im_end|>"


def chat(content: str) -> ChatTemplate:
    """ChatML with some Jinja in the place of a message's text `c`."""
    return ChatTemplate(
        "{% for m in messages %}{% set c = m.content %}<|im_start|>{{ m.role }}\n"
        + content
        + "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        CHATML_NAMED,
    )


COPYING = [
    "{{ c }}",
    "{{ c | trim }}",
    "{{ c.strip() }}",
    "{{ c.lstrip('\\n') }}",
    "{{ c.rstrip().lstrip() }}",
    "{{ 'a' + c + 'b' }}",
    "{{ 'a' ~ c ~ 'b' }}",
    "{% if c is string %}{{ c }}{% endif %}",
    "{% if c %}{{ c }}{% endif %}",
    "{% if '</think>' in c %}{{ c.split('</think>')[-1] }}{% else %}{{ c }}{% endif %}",
    "{% if c.startswith('a') %}A{% endif %}{{ c }}",
    "{% if c.strip().endswith('b') %}B{% endif %}{{ c }}",
    "{% if c == 'a' %}A{% endif %}{{ c }}",
    "{% if c in ['a', 'b'] %}A{% endif %}{{ c }}",
    "{% set n = namespace(t='') %}{% set n.t = c %}{{ n.t }}",
    "{% generation %}{{ c }}{% endgeneration %}",
    "100 % {{ c }} %s",
]
LOOKING = [
    "{{ c[:3] }}{{ c }}",
    "{{ c | length }}{{ c }}",
    "{{ c | upper }}",
    "{{ c | tojson }}",
    "{{ c | replace('a', 'b') }}",
    "{{ '%s' % c }}",
    "{{ '%s %s' % (c, 1) }}",
    "{{ '%s' | format(c) }}",
    "{{ '{}'.format(c) }}",
    "{{ ', '.join([c, c]) }}",
    "{{ [c, c] | join('-') }}",
    "{{ [c] }}",
    "{{ m }}",
    "{{ m | tojson }}",
    "{{ (c ~ ' ') | trim }}",
    "{{ ('a' + c) | trim }}",
    "{% set t %}{{ c }}{% endset %}{{ t | trim }}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(c) | trim }}",
    "{% filter trim %}{{ c }}{% endfilter %}",
    "{% if c in 'abc' %}A{% endif %}{{ c }}",
    "{% if c > 'm' %}A{% endif %}{{ c }}",
    "{% if c == messages[0].content %}A{% endif %}{{ c }}",
    "{% if c is upper %}A{% endif %}{{ c }}",
    "{% if c is in 'abc' %}A{% endif %}{{ c }}",
    "{{ c * 2 }}",
    "{% for letter in c %}{{ letter }}{% endfor %}",
    "{{ {'a': 1}[c] }}{{ c }}",
    "{{ 'xay'.replace('a', c) }}",
    "{{ c.strip('ab') }}",
    "{{ c.split('a')[0] }}",
    "{% if loop.changed(c) %}A{% endif %}{{ c }}",
    "{{ c | first }}{{ c | last }}{{ c | list }}",
    "{{ c | default('x', true) | trim }}",
    "{{ c.startswith('a', 1) }}{{ c }}",
    "{{ dict(a=c) }}",
]
TEXTS = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "abc",
            " a",
            "m",
            "</think>a",
            " ",
            "",
            "A",
            EOT,
            "\ue0000\ue001",
            "x" * 50,
            "%s",
            "a\n",
        ]
    ),
    st.text(max_size=8),
)


def conversation(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize("content", [*COPYING, *LOOKING])
def test_a_plan_agrees_with_jinja_or_gives_way(content: str) -> None:
    template = chat(content)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=2, max_size=4).filter(lambda texts: len(texts) % 2 == 0))
    def check(texts: list[str]) -> None:
        messages = conversation(texts)
        cuts = planner_for(template, EOT, "all").cuts(messages)
        if cuts is not None:
            assert cuts == list(cut_rows(template, EOT, messages, "all"))

    check()


@pytest.mark.parametrize("content", COPYING)
def test_templates_that_copy_are_learned(content: str) -> None:
    assert (
        planner_for(chat(content), EOT, "all").cuts(conversation(["hello", "there you are"]))
        is not None
    )


@pytest.mark.parametrize("turns", ["all", "last", "unroll"])
def test_every_choice_of_turns_is_learned(turns: Any) -> None:
    messages = conversation(["one", "two", "three", "four", "five"])
    template = ChatTemplate(CHATML, CHATML_NAMED)
    assert planner_for(template, EOT, turns).cuts(messages) == list(
        cut_rows(template, EOT, messages, turns)
    )


def test_what_is_more_than_text_is_rendered_in_full() -> None:
    planner = planner_for(ChatTemplate(CHATML, CHATML_NAMED), EOT, "all")
    assert (
        planner.cuts([{"role": "user", "content": "a"}, {"role": "assistant", "content": None}])
        is None
    )
    assert (
        planner.cuts(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "c"}]
        )
        is None
    )
    assert (
        planner.cuts(
            [{"role": "user\ue0001\ue001", "content": "a"}, {"role": "assistant", "content": "b"}]
        )
        is None
    )


def test_a_shape_that_the_template_refuses_is_left_to_it() -> None:
    template = chat("{% if loop.index0 == 2 %}{{ raise_exception('too many') }}{% endif %}{{ c }}")
    planner = planner_for(template, EOT, "all")
    assert planner.cuts(conversation(["a", "b"])) is not None
    assert planner.cuts(conversation(["a", "b", "c", "d"])) is None
    with pytest.raises(DataError, match="too many"):
        list(cut_rows(template, EOT, conversation(["a", "b", "c", "d"]), "all"))


def test_the_number_of_shapes_is_bounded() -> None:
    planner = Planner(ChatTemplate(CHATML, CHATML_NAMED), EOT, "all", traceable=True)
    for number in range(300):
        planner.cuts(
            [{"role": f"user{number}", "content": "a"}, {"role": "assistant", "content": "b"}]
        )
    assert len(planner.plans) == 256
