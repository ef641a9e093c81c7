"""The rows that a base model can read: token ids below its embedding's rows, and positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.base_model import language_part, tensor_list
from sftplay.errors import DataError
from sftplay.library_errors import reading
from sftplay.untrusted import read_model_json, read_template
from sftplay.weights import read_tensors

_POSITIONS = re.compile(r"(?:^|\.)(?:wpe|embed_positions|position_embeddings)\.weight$")
_ADD_ROWS = (
    "use the model's own tokenizer and chat template; or add the rows to the model first: "
    "model.resize_token_embeddings(len(tokenizer)), then save_pretrained"
)


@dataclass(frozen=True)
class InputLimits:
    """The rows that a model can read.

    Attributes:
        ids: rows of its embedding: a token's id is below it.
        positions: the longest row that the config knows; None: not said.
        learned: whether positions are learned, so that there is none beyond the last one.
    """

    ids: int | None
    positions: int | None
    learned: bool

    def check(self, largest_id: int | None, longest: int, where: str) -> None:
        """Judge rows by their largest id and their length.

        Raises:
            DataError: the model has no weights for them (65).
        """
        if self.ids is not None and largest_id is not None and largest_id >= self.ids:
            raise DataError(
                f"token {largest_id} is in the rows, and the model's embedding has {self.ids:,} "
                f"rows (ids 0 to {self.ids - 1:,}): the tokenizer has tokens that the model lacks",
                where=where,
                todo=_ADD_ROWS,
            )
        if self.positions is None or longest <= self.positions:
            return
        if self.learned:
            raise DataError(
                f"the longest row has {longest:,} tokens, and the model has learned "
                f"{self.positions:,} positions",
                where=where,
                todo=f"--set model.max_length={self.positions} with data.on_too_long: drop or "
                "truncate; or choose another model",
            )
        console.warning(
            f"the longest row has {longest:,} tokens; the model was made for {self.positions:,} "
            "(max_position_embeddings): it is trained on positions that it has never seen"
        )


def input_limits(folder: Path) -> InputLimits:
    """Read from config.json and the tensors' names what rows a model can take."""
    config = language_part(read_model_json(folder / "config.json"))
    rows = config.get("vocab_size")
    positions = config.get("n_positions") or config.get("max_position_embeddings")
    learned = any(_POSITIONS.search(name) for name in read_tensors(folder))
    return InputLimits(
        rows if isinstance(rows, int) else None,
        positions if isinstance(positions, int) else None,
        learned,
    )


def check_template(folder: Path) -> None:
    """Judge the tokens that the model's own chat template spells.

    Raises:
        DataError: its embedding has no row for one of them (65).
    """
    rows = input_limits(folder).ids
    tokenizer, template = folder / "tokenizer.json", folder / "chat_template.jinja"
    if rows is None or not tokenizer.is_file():
        return
    if template.is_file():
        text = read_template(template)
    elif (folder / "tokenizer_config.json").is_file():
        text = str(read_model_json(folder / "tokenizer_config.json").get("chat_template") or "")
    else:
        return
    added = read_model_json(tokenizer).get("added_tokens") or []
    with reading(tokenizer, "its added_tokens"):
        beyond = [t["content"] for t in added if t["id"] >= rows and t["content"] in text]
    if beyond:
        raise DataError(
            f"the chat template writes {tensor_list(beyond)}, and the model's embedding has no row "
            f"for it ({rows:,} rows)",
            where=str(folder),
            todo=_ADD_ROWS,
        )
