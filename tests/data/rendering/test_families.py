"""Model families against transformers' own rendering: every template that the installed TRL ships,
SmolLM2's and four that are written for the tests, with 21 kinds of rows.

A row is rendered and cut as the stage does it; the witness is transformers' apply_chat_template. A
few families run every day, all of them with the long tests.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from sftplay.data.blocks import Block
from sftplay.data.rendering.probe import find_traits
from sftplay.data.rendering.rows import RenderSettings, render_block
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.tokenizing.tokenizer import TokenizerFacts
from sftplay.settings import DataSettings
from tests.data.families import FAMILIES, NAMED, special_tokens
from tests.data.models import byte_tokenizer
from tests.data.rendering.test_advice import TOOL, answer, user

IMAGES = ("idefics3", "llava_next", "smolvlm")
# What the advice says for families that can't be trained as they are (test_advice follows it).
SETTINGS: dict[str, dict[str, str]] = {
    **{
        f"nemotron_3_{size}": {"generation_prompt": "answer"} for size in ("nano", "super", "ultra")
    },
    "nemotron_3_5_lightning": {"generation_prompt": "answer"},
    "deepseekv3": {"generation_prompt": "answer"},
    "deepseek_r1_distill": {"generation_prompt": "answer"},
    "glm4": {"eot": "<|user|>"},
    "glm4moe": {"chat_template": "trl:glm4moe_training"},
}
EVERY_DAY = ("smollm2", "llama3_1", "qwen3", "gemma3", "mistral_small", "deepseekv3")
LONG = sorted(set(FAMILIES) - set(EVERY_DAY) - set(IMAGES))
NAMES = [
    *(name for name in EVERY_DAY if name in FAMILIES),
    *(pytest.param(name, marks=pytest.mark.long) for name in LONG),
]
SYSTEM = {"role": "system", "content": "Be brief and kind."}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "name": "weather", "content": text}


ONE = [user("first question"), answer("first answer")]
TWO = [*ONE, user("second question"), answer("second answer")]
CALLING = [user("first question"), answer("", tool_calls=[call("weather", city="Rome")])]
KINDS: dict[str, list[dict[str, Any]]] = {
    "one answer": ONE,
    "system turn": [SYSTEM, *ONE],
    "two answers": TWO,
    "three answers": [*TWO, user("third question"), answer("third answer")],
    "system turn, two answers": [SYSTEM, *TWO],
    "blanks around": [user("  question "), answer(" an answer \n")],
    "several lines": [user("line\n\nline"), answer("one\n\n\ttwo\n- three")],
    "other scripts": [user("名前は？ ¿sí?"), answer("été 名 👩‍👩‍👧 नमस्ते")],
    "long texts": [user("word " * 400), answer("other " * 400)],
    "one letter": [user("q"), answer("a")],
    "json": [user("as json?"), answer('{"a": [1, {"b": null}]}')],
    "jinja": [user("{{ messages }}"), answer("{% if x %}{{ y }}{% endif %}")],
    "markup": [user("<b>bold</b> & co"), answer("<p>a &lt; b</p>")],
    "first answer not trained": [ONE[0], {**ONE[1], "train": False}, *TWO[2:]],
    "reasoning": [ONE[0], answer("first answer", reasoning_content="because of that")],
    "reasoning, two answers": [
        *(ONE[0], answer("first answer", reasoning_content="because of that")),
        *(TWO[2], answer("second answer", reasoning_content="as before")),
    ],
    "tools not called": ONE,
    "call at the end": CALLING,
    "call, result, answer": [*CALLING, result("rain"), answer("It rains.")],
    "two calls": [
        user("first question"),
        answer("", tool_calls=[call("weather", city="Rome"), call("weather", city="Oslo")]),
        *(result("rain"), result("snow"), answer("Rain and snow.")),
    ],
    "text and call": [
        user("first question"),
        answer("Let me look.", tool_calls=[call("weather", city="Rome")]),
        *(result("rain"), answer("It rains.")),
    ],
}
WITH_TOOLS = {"tools not called", *list(KINDS)[-4:]}


@cache
def facts(name: str) -> TokenizerFacts:
    tokens = [*NAMED.values(), *special_tokens(FAMILIES[name])]
    ids = {token: byte_tokenizer(tokens).token_to_id(token) for token in tokens}
    return TokenizerFacts(Path(), NAMED, ids, ids, FAMILIES[name], "")


@cache
def recipe(name: str, turns: Any = "all") -> RenderSettings:
    settings = DataSettings.model_validate(SETTINGS.get(name, {}))
    template = choose_template(settings, facts(name))
    traits = find_traits(template, facts(name), settings.eot)
    specials = tuple(facts(name).special)
    return RenderSettings(
        *(template, traits.eot.value, turns, specials, "error"),
        *("render" if traits.system_supported else "error", traits.system_problem, traits.form),
    )


@cache
def witness() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(NAMED.values()), **NAMED)


def by_transformers(name: str, messages: list[dict[str, Any]], tools: Any, **more: Any) -> str:
    used = recipe(name)
    plain = [{key: message[key] for key in message if key != "train"} for message in messages]
    rendering: str = witness().apply_chat_template(
        plain, tools=tools, chat_template=used.template.source, tokenize=False, **more
    )
    return rendering


def rendered(name: str, kind: str) -> list[dict[str, Any]]:
    """The row as the stage renders it, with a row for each answer where the template rewrites
    earlier ones; nothing where it is refused.
    """
    row = {"messages": KINDS[kind], "id": "one"}
    row |= {"tools": [TOOL]} if kind in WITH_TOOLS else {}
    for turns in ("all", "unroll"):
        done = render_block(recipe(name, turns), Block("x", 1, json.dumps(row).encode()))
        if done.rows:
            return [orjson.loads(line) for line in done.lines()]
        assert done.findings.of("fatal") or done.findings.of("reject")
    return []


def check(name: str, kind: str, row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Compare one training row with the witness."""
    tools = [TOOL] if kind in WITH_TOOLS else None
    pairs = row.get("turns", [row])
    whole = "".join(pair["input"] + pair["target"] for pair in pairs) + row.get("tail", "")
    assert whole == by_transformers(name, messages, tools)
    answers = [
        number
        for number, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("train", True)
    ][-len(pairs) :]
    before = ""
    for number, pair in zip(answers, pairs, strict=True):
        before += pair["input"]
        prompt = by_transformers(name, messages[:number], tools, add_generation_prompt=True)
        assert before == prompt
        assert pair["target"].endswith(recipe(name).eot)
        others = [each["content"].strip() for each in messages if each["role"] != "assistant"]
        assert not [text for text in others if len(text) > 4 and text in pair["target"]]
        before += pair["target"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_transformers(name: str) -> None:
    done = 0
    for kind, messages in KINDS.items():
        rows = rendered(name, kind)
        done += bool(rows)
        adapted = recipe(name).form.adapted(messages)
        ends = [place + 1 for place, each in enumerate(adapted) if each["role"] == "assistant"]
        for end, row in zip(ends[-len(rows) :] if len(rows) > 1 else ends[-1:], rows, strict=False):
            check(name, kind, row, adapted[:end])
    assert done >= 12, f"{name}: only {done} of {len(KINDS)} kinds of rows can be trained"


def test_there_are_41_families_and_21_kinds() -> None:
    assert len(KINDS) == 21
    assert len(NAMES) >= 41
