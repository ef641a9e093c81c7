"""Rows and templates with tokens that a model has no embedding for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import DataError
from sftplay.input_limits import check_template, input_limits
from tests import broken


def test_a_template_with_tokens_that_the_embedding_lacks(tiny_model: Path, tmp_path: Path) -> None:
    check_template(tiny_model)
    folder = broken.broken(tiny_model, tmp_path / "model", broken.tokens_beyond)
    with pytest.raises(DataError, match=r"writes <\|new_turn\|>, <\|new_end\|>"):
        check_template(folder)


def test_what_a_model_can_read(tiny_model: Path) -> None:
    limits = input_limits(tiny_model)
    assert (limits.positions, limits.learned) == (512, False)
    assert limits.ids is not None
    limits.check(limits.ids - 1, 512, "rows")
    with pytest.raises(DataError, match="the tokenizer has tokens that the model lacks"):
        limits.check(limits.ids, 512, "rows")
