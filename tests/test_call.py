"""A stage's call and its command line say the same: what is written is read back, whatever the
values are.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.call import StageCall
from sftplay.cli import parse_call
from sftplay.errors import UsageError
from sftplay.stages import BY_NAME, STAGES, Option

# What a shell can hand over as one word; those that look like options are the dangerous ones.
# argparse drops a value that is exactly `--` in any form (`--set=--` too); no config, run, override
# or option of ours has it.
OPTION_LIKE = st.sampled_from(["--run", "-", "---", "-1", "--set=a.b=1", "", " ", "=", "a=b"])
WORDS = (
    OPTION_LIKE
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
).filter(lambda word: word != "--")


def values(option: Option) -> st.SearchStrategy[Any]:
    if option.kind == "flag":
        return st.booleans()
    if option.choices:
        return st.sampled_from(option.choices)
    return st.integers() if option.kind is int else WORDS


@st.composite
def calls(draw: st.DrawFn) -> StageCall:
    stage = draw(st.sampled_from(STAGES))
    options = draw(
        st.fixed_dictionaries({}, optional={option.key: values(option) for option in stage.options})
    )
    config, run = draw(st.none() | WORDS), draw(st.none() | WORDS)
    return StageCall(stage, config, run, tuple(draw(st.lists(WORDS, max_size=3))), options)


@given(calls())
def test_a_call_is_read_back_from_its_command_line(call: StageCall) -> None:
    assert parse_call(call.argv) == call


@given(calls(), calls())
def test_calls_that_differ_have_command_lines_that_differ(one: StageCall, other: StageCall) -> None:
    assert (one == other) == (one.argv == other.argv)


def test_an_option_at_its_default_is_not_written() -> None:
    assert StageCall(BY_NAME["eval"], options={"split": "val", "samples": None}).argv == ["eval"]
    assert StageCall(BY_NAME["eval"], options={"split": "test"}).all_options["split"] == "test"
    assert StageCall(BY_NAME["eval"]).all_options == {
        "split": "val",
        "samples": None,
        "tasks": None,
        "limit": None,
        "chat_template": False,
        "trust_tasks": False,
        "write_task": False,
        "portable": False,
    }


def test_tasks_of_lm_eval_need_its_packages() -> None:
    assert StageCall(BY_NAME["eval"], options={"tasks": "a.yaml"}).packages == "lm-eval"
    assert StageCall(BY_NAME["eval"], options={"limit": 3}).packages == ""


def test_an_option_that_the_stage_does_not_have_is_a_bug() -> None:
    with pytest.raises(TypeError, match="resume"):
        StageCall(BY_NAME["eval"], options={"resume": True})


@pytest.mark.parametrize(
    ("stage", "key", "text"), [("eval", "samples", "many"), ("style", "mode", "sideways")]
)
def test_a_wrong_value_is_named(stage: str, key: str, text: str) -> None:
    option = next(option for option in BY_NAME[stage].options if option.key == key)
    with pytest.raises(UsageError, match=text):
        option.parse(text)


def test_an_option_that_may_stand_alone() -> None:
    bare = parse_call(["infer", "--gguf", "--prompt", "a"])
    assert bare.options == {"gguf": "newest", "prompt": "a"}
    assert parse_call(["infer", "--gguf=a.gguf"]).options == {"gguf": "a.gguf"}
    (option,) = (one for one in BY_NAME["infer"].options if one.key == "gguf")
    assert (option.parse(True), option.parse("a.gguf")) == ("newest", "a.gguf")


def test_packages_of_a_stage_and_of_an_option() -> None:
    assert StageCall(BY_NAME["export"]).packages == "export"
    assert StageCall(BY_NAME["infer"], options={"gguf": "newest"}).packages == "export"
    assert StageCall(BY_NAME["infer"]).packages == StageCall(BY_NAME["merge"]).packages == ""
