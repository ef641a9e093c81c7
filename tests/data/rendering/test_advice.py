"""Advice for templates and rows that are refused: it is followed here, by the real commands, until
rows are tokenized, or until it says that something is not supported.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.data.families import FAMILIES, NAMED, special_tokens
from tests.data.project import Done, Project
from tests.data.stages import facts, put_rows, with_model

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


SINGLE = [user("q"), answer("first answer")]
SEVERAL = [*SINGLE, user("r"), answer("second answer")]
CALLING = [user("q"), answer("", tool_calls=[CALL])]
ROWS: dict[str, dict[str, Any]] = {
    "single": {"messages": SINGLE},
    "several": {"messages": SEVERAL},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, *SEVERAL]},
    "reasoning": {"messages": [user("q"), answer("an answer", reasoning_content="because")]},
    "calling": {"messages": CALLING, "tools": [TOOL]},
    "called": {
        "messages": [*CALLING, {"role": "tool", "content": "rain"}, answer("It rains.")],
        "tools": [TOOL],
    },
}
EVERY_DAY = ("glm4", "gptoss", "gemma4", "deepseekv3", "nemotron_3_nano", "mistral_small")
REST = (
    *("glm4moe", "gemma", "gemma4_v5", "diffusion_gemma", "deepseek_r1_distill", "granite4"),
    *("llama2", "nemotron_3_super", "nemotron_3_ultra", "nemotron_3_5_lightning"),
    *("qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "idefics3"),
)
NAMES = [*EVERY_DAY, *(pytest.param(name, marks=pytest.mark.long) for name in REST)]
_SETTING = re.compile(r"(?:--set )?(data\.\w+)(?:=|: )'?([^\s',;()]+)'?")


def advised(said: str) -> list[str]:
    """The settings of the first piece of advice, as a person would type them."""
    todo = said[said.index("next: ") :].splitlines()[0]
    return [f"{key}={value}" for key, value in _SETTING.findall(todo.partition(" or ")[0])]


def follow(project: Project) -> tuple[Done, list[str]]:
    """Render, and do what is advised until it works or is said not to be supported."""
    sets: list[str] = []
    for _ in range(4):
        done = project.run("render", *(word for one in sets for word in ("--set", one)))
        if done.code == 0 or "not supported" in done.said:
            return done, sets
        assert done.code == 65, done.said
        more = advised(done.said)
        assert more, done.said
        assert not set(more) & set(sets), f"the same advice again: {done.said}"
        sets += more
    raise AssertionError(done.said)


def ready(project: Project, name: str, row: dict[str, Any]) -> None:
    template = FAMILIES[name]
    with_model(project, template, NAMED, special_tokens(template))
    put_rows(project, [{**row, "id": "one"}])


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", NAMES)
def test_advice_leads_to_tokens(project: Project, name: str, kind: str) -> None:
    ready(project, name, ROWS[kind])
    done, _ = follow(project)
    if done.code:
        assert kind in ("reasoning", "calling", "called") or name == "idefics3", done.said
        return
    done = project.run("tokenize", "--set", "model.max_length=8192")
    assert done.code == 0, done.said
    assert facts(project, "tokenized")["trained_tokens"]["train"] > 1


@pytest.mark.parametrize("name", ["qwen3_5_think", "qwen3_6", "qwen3_8"])
@pytest.mark.parametrize("text", ["the answer", "<think>\nbecause\n</think>\n\nthe answer"])
def test_a_prompt_that_opens_think_takes_no_reasoning_out(
    project: Project, name: str, text: str
) -> None:
    ready(project, name, {"messages": [user("q"), answer(text)]})
    done = project.run("render")
    assert done.code == 0, done.said
    assert "taken out" not in done.said
    (made,) = project.rows("rendered")
    whole = made["input"] + made["target"]
    assert "the answer" in made["target"]
    assert ("because" in whole) == ("because" in text)


def test_the_form_that_trl_ships_is_offered(project: Project) -> None:
    ready(project, "glm4moe", ROWS["several"])
    done, sets = follow(project)
    assert done.code == 0
    assert sets == ["data.chat_template=trl:glm4moe_training"]


@pytest.mark.parametrize("name", ["deepseekv3", "nemotron_3_nano"])
def test_the_prompt_is_the_same_at_inference(project: Project, name: str) -> None:
    """The frozen template, by transformers: its generation prompt is how the row's answer begins."""
    from transformers import PreTrainedTokenizerFast

    from tests.data.models import byte_tokenizer

    ready(project, name, ROWS["several"])
    assert follow(project)[1] == ["data.generation_prompt=answer"]
    frozen = (project.folder / "data/rendered/chat_template.jinja").read_text()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(()), **NAMED)
    (made,) = project.rows("rendered")
    asked = tokenizer.apply_chat_template(
        SEVERAL[:1], chat_template=frozen, tokenize=False, add_generation_prompt=True
    )
    assert made["turns"][0]["input"] == asked
    whole = tokenizer.apply_chat_template(SEVERAL, chat_template=frozen, tokenize=False)
    own = tokenizer.apply_chat_template(SEVERAL, chat_template=FAMILIES[name], tokenize=False)
    assert whole == own
