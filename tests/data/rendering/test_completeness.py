"""No text of a conversation is lost unseen, under templates that leave something out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.rendering.completeness import lost_calls, lost_in_shape, lost_parts, stands_in
from sftplay.data.rendering.template import ChatTemplate
from tests.data.models import CHATML, CHATML_NAMED, NAMED, trl_templates
from tests.data.project import Project
from tests.data.stages import put_rows, row, with_model

# As Mistral's before 2024-11: the system text stands in front of the last question, if that is the
# last turn of all.
LAST_QUESTION = (
    "{% set system = '' %}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}{% endif %}{{ bos_token }}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST]' + (system if loop.last else '') + message['content'] + '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)


def tool_row(row_id: str = "one") -> dict[str, Any]:
    messages = [
        {"role": "user", "content": "How cold is it?"},
        {"role": "assistant", "content": "I look it up."},
        {"role": "tool", "content": "4 degrees"},
        {"role": "assistant", "content": "Four degrees."},
    ]
    return {"messages": messages, "id": row_id}


@pytest.mark.parametrize("name", ["phi3", "phi3_5"])
def test_a_template_without_tool_results(project: Project, name: str) -> None:
    with_model(
        project,
        trl_templates()[name],
        {"eos_token": "<|endoftext|>"},
        ["<|user|>", "<|assistant|>", "<|end|>", "<|system|>"],
    )
    put_rows(project, [tool_row("one"), tool_row("two"), row("a", "b")])
    done = project.run("render")
    assert done.code == 0, done.said
    assert (
        "2 × the chat template of ./model prints no tool results, or not all of them" in done.said
    )
    assert "train.jsonl:1 (one)" in done.said
    assert project.run("render", "--strict").code == 65


def test_a_result_that_stands_elsewhere_by_chance_is_missed_by_no_template() -> None:
    template = ChatTemplate(trl_templates()["phi3_5"], {"eos_token": "</s>"})
    messages = [
        {"role": "user", "content": "What is 42?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is 42."},
    ]
    assert (2, "tool results") not in lost_parts(template.render(messages, False), messages, [3])
    assert (2, "tool results") in lost_in_shape(template, messages, None)


def test_a_system_turn_in_the_last_question_only(project: Project) -> None:
    with_model(project, LAST_QUESTION, NAMED, ["[INST]", "[/INST]"])
    put_rows(project, [row("a", "b", "c", "d", system="Be brief.")])
    for turns in ("all", "last", "unroll"):
        done = project.run("render", "--set", f"data.turns={turns}")
        assert done.code == 65
        assert (
            "prints it in the last question only, and no longer once an answer follows" in done.said
        )
        assert "<think>" not in done.said
        done = project.run(
            "render",
            "--set",
            f"data.turns={turns}",
            "--set",
            "data.system_unsupported=merge_into_user",
        )
        assert done.code == 0, done.said
        assert all(r"Be brief.\n\na" in json.dumps(each) for each in project.rows("rendered"))


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {
        "id": "call00000",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def test_an_earlier_call_that_is_left_out(project: Project) -> None:
    """A template without tools, and the last answer alone is trained: only the earlier turns tell
    what is missing.
    """
    with_model(project, CHATML)
    earlier = {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("weather", {"city": "Bern"})],
    }
    messages = [tool_row()["messages"][0], earlier, *tool_row()["messages"][2:]]
    put_rows(project, [{"messages": messages, "id": "one"}])
    done = project.run("render", "--set", "data.turns=last")
    assert done.code == 0, done.said
    assert "prints no earlier tool calls" in done.said


@pytest.mark.parametrize("name", ["deepseekv3", "qwen2_5", "qwen3", "llama3_1"])
def test_arguments_reach_every_template_in_the_form_that_it_takes(
    project: Project, name: str
) -> None:
    specials = ["<｜end▁of▁sentence｜>", "<|eot_id|>", "<|im_end|>"]
    source = trl_templates()[name].replace(
        "<think>\\n", ""
    )  # DeepSeek's prompt opens reasoning: another test's matter
    with_model(
        project,
        source,
        {**CHATML_NAMED, "eos_token": "<｜end▁of▁sentence｜>" if "deep" in name else "<|im_end|>"},
        specials,
    )
    asked = {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("weather", {"city": 'Bern "x"', "days": 2})],
    }
    messages = [tool_row()["messages"][0], asked, *tool_row()["messages"][2:]]
    put_rows(
        project,
        [
            {
                "messages": messages,
                "tools": [{"type": "function", "function": {"name": "weather"}}],
                "id": "one",
            }
        ],
    )
    eot = ("--set", "data.eot=<|eot_id|>") if name == "llama3_1" else ()
    done = project.run("render", "--set", "data.turns=unroll", *eot)
    assert done.code == 0, done.said
    target = project.rows("rendered")[0]["target"]
    assert '"city": "Bern \\"x\\""' in target
    assert '"days": 2' in target
    assert "\\\\" not in target


def test_missing_arguments() -> None:
    message = {"role": "assistant", "tool_calls": [call("f", {"a": ["deep", {"b": "deeper"}]})]}
    assert lost_calls(message, "f a deep b deeper") == ""
    assert lost_calls(message, "f a deep b") == "arguments of tool calls"
    assert lost_calls(message, "a deep b deeper") == "earlier tool calls"
    assert lost_calls({"role": "user", "content": "x"}, "") == ""


@given(st.text(), st.text())
def test_a_text_stands_in_what_holds_it(text: str, other: str) -> None:
    assert stands_in(text, other + text)
    assert stands_in(text, other + text.strip())


def test_indented_and_quoted_texts() -> None:
    assert stands_in('{"a": 1}\n{"b": 2}', 'result:\n    {"a": 1}\n    {"b": 2}')
    assert stands_in('say "é"\n', '"say \\"\\u00e9\\""')
    assert not stands_in("42", "4 2")
