"""What is wrong with a value, in words that a person knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sftplay.config import load_config
from sftplay.errors import ConfigError
from sftplay.settings import Settings
from sftplay.validation import alternatives, in_words

# Words of libraries, or of no meaning to a person who has typed a command.
_LEAKS = ("Input should", "unable to", "parse", "stream", "Value error", "<", "boolean")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.trackers=trackio", "requires a list: [trackio]"),
        ("train.trackers=[x, y]", "requires 'tensorboard' or 'trackio' (got 'x')"),
        ("train.max_steps=abc", "requires a whole number (got 'abc')"),
        ("train.max_steps=1.5", "requires a whole number (got 1.5)"),
        ("train.learning_rate=x", "requires a number (got 'x')"),
        ("train.batch_size=0", "requires at least 1, or 'auto'"),
        ("train.gradient_checkpointing=maybe", "requires true or false, or 'auto'"),
        ("data.val_share=2", "requires at most 1 (got 2)"),
        ("train=x", "requires keys with values"),
        ("train.trackers=[trackio", "a list that begins with [ has no ] at its end"),
        ("model.name='a", "a quote is not closed"),
    ],
)
def test_a_value_of_the_command_line(tmp_path: Path, override: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "a.yaml", [override])
    text = str(refused.value)
    assert said in text and text.count("requires") <= 1, text
    assert not any(leak in text for leak in _LEAKS), text


@pytest.mark.parametrize("value", [None, "x", 1.5, -1, [], {}, ["x"], {"a": 1}, True, 10**9])
def test_no_key_answers_in_pydantics_words(value: Any) -> None:
    for section, field in Settings.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            try:
                Settings.model_validate({section: {key: value}})
            except ValidationError as error:
                for problem in error.errors():
                    assert not any(leak in in_words(problem) for leak in _LEAKS), (key, problem)


def test_alternatives_are_named_once() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(int | list[int] | bool).validate_python("x", strict=True)
    said = [in_words(problem) for problem in refused.value.errors()]
    assert (
        alternatives([*said, *said]) == "requires a whole number, or a list: [x], or true or false"
    )
