"""Messages in the form that a template takes, found out by asking it."""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.data.rendering.adapt import MessageForm
from sftplay.data.rendering.probe import find_traits
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.tokenizer import read_tokenizer
from tests.data.models import CHATML, CHATML_NAMED, save_model, trl_templates
from tests.data.project import Project
from tests.data.stages import put_rows, render, with_model

THOUGHT = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two."}
TALK = [{"role": "user", "content": "2 + 2?"}, THOUGHT]
READS_THINKING = CHATML.replace(
    "message['content'] +",
    "(message.thinking + '|' if message.thinking else '') + message['content'] +",
)


@pytest.mark.parametrize(
    ("source", "key"),
    [(CHATML, ""), (READS_THINKING, "thinking"), ("qwen3", "reasoning_content"), ("qwen2_5", "")],
)
def test_the_key_that_a_template_reads(tmp_path: Any, source: str, key: str) -> None:
    template = ChatTemplate(trl_templates().get(source, source), CHATML_NAMED)
    tokenizer = read_tokenizer(save_model(tmp_path / "model"))
    assert find_traits(template, tokenizer, None).form.reasoning_key == key


def test_reasoning_goes_where_the_template_reads_it() -> None:
    assert MessageForm("thinking").adapted(TALK)[1] == {
        "role": "assistant",
        "content": "Four.",
        "thinking": "Two and two.",
    }
    inlined = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nFour."}
    assert MessageForm("").adapted(TALK)[1] == inlined
    assert MessageForm("").adapted(TALK[:1]) == TALK[:1]


def test_a_template_that_reads_reasoning(project: Project) -> None:
    said, made = render(project, trl_templates()["qwen3"], {"messages": TALK, "id": "one"})
    assert made["target"] == "<think>\nTwo and two.\n</think>\n\nFour.<|im_end|>"
    assert "reasoning goes to the chat template in the key that it reads" in said
    assert "changes the text" not in said


def test_a_template_that_reads_none(project: Project) -> None:
    said, made = render(project, CHATML, {"messages": TALK, "id": "one"})
    assert made["target"] == "<think>\nTwo and two.\n</think>\n\nFour.<|im_end|>"
    assert "1 × the chat template reads no reasoning" in said
    assert project.run("render", "--strict").code == 65


def test_reasoning_that_the_template_throws_away_is_a_finding(project: Project) -> None:
    """Qwen 3 prints the reasoning of the last turns only."""
    talk = [
        *TALK,
        {"role": "user", "content": "3 + 3?"},
        {**THOUGHT, "content": "Six.", "reasoning_content": "Three and three."},
    ]
    said, _ = render(project, trl_templates()["qwen3"], {"messages": talk, "id": "one"})
    assert "renders an earlier answer differently" in said


def test_a_prompt_that_opens_the_reasoning_changes_nothing(project: Project) -> None:
    opened = CHATML.replace(
        "{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>\n' }}"
    )
    opened = opened.replace(
        "message['content'] +",
        "('<think>\n\n</think>\n\n' if message.role == 'assistant' and '<think>' not in message.content else '') + message.content +",
    )
    answer = "<think>\nTwo and two.\n</think>\n\nFour."
    said, made = render(
        project,
        opened,
        {"messages": [TALK[0], {"role": "assistant", "content": answer}], "id": "one"},
    )
    assert made["input"].endswith("<think>\n")
    assert made["target"] == "Two and two.\n</think>\n\nFour.<|im_end|>"
    assert "changes the text" not in said


def test_numbers_of_a_call_stand_in_the_target_as_they_were_written(project: Project) -> None:
    with_model(project, trl_templates()["qwen3"])
    folder = project.folder / "data/processed"
    put_rows(project, [])
    call = '{"type":"function","function":{"name":"pay","arguments":{"account":12345678901234567890123450,"amount":10.50}}}'
    answer = f'{{"role":"assistant","content":"","tool_calls":[{call}]}}'
    line = f'{{"messages":[{{"role":"user","content":"pay"}},{answer}],"id":"one"}}\n'
    (folder / "train.jsonl").write_text(line)
    done = project.run("render")
    assert done.code == 0, done.said
    assert (
        '{"account": 12345678901234567890123450, "amount": 10.50}'
        in project.rows("rendered")[0]["target"]
    )
