"""Rows of a pass: padded, with masks by position."""

from __future__ import annotations

from sftplay.model.forward.collate import Collator
from tests.model.forward.rows import ROWS


def test_padding_is_masked_by_position_though_the_pad_token_is_trained() -> None:
    batch = Collator(pad_id=2)(ROWS)
    assert batch["labels"][0].tolist() == [-100, -100, 7, 8, 2, -100, -100, -100]
    assert batch["attention_mask"].sum(1).tolist() == [5, 8, 2]
    assert (
        batch["labels"][1, 2] == 2
    )  # an end of turn inside a row stays trained, though it is the pad token
