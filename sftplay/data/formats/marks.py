"""Marks of messages, in the words of several toolkits: whether an answer is trained."""

from __future__ import annotations

from typing import Any

from sftplay.data.findings import Finding
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError

# train: axolotl's; loss: ms-swift's; weight: OpenAI's; label: TRL's KTO; masked: true where it is
# not trained.
MARKS = ("train", "loss", "weight", "label", "masked")
_SAYS_NO = ("masked",)
_ONLY_ANSWERS = Finding(
    "marked_prompts",
    "warning",
    "a turn that is no answer is marked as trained: only answers are",
    "take the mark out, or make it an assistant turn",
)


def is_trained(item: dict[str, Any], role: str, notes: RowNotes) -> bool:
    """Tell whether a message is trained, by its marks.

    Raises:
        BadRowError: a mark that is neither yes nor no, or marks that contradict each other.
    """
    said = {key: _read(key, item[key]) for key in MARKS if item.get(key) is not None}
    if len(set(said.values())) > 1:
        raise BadRowError(
            "marks that contradict each other",
            ", ".join(f"`{key}: {item[key]}`" for key in said)[:100],
        )
    if role != "assistant" and True in said.values() and "weight" not in said:
        notes.findings.append(_ONLY_ANSWERS)
    return False not in said.values()


def _read(key: str, value: Any) -> bool:
    if value not in (0, 1):  # true and false are equal to these
        raise BadRowError(
            "a mark that can't be read",
            f"`{key}` is {value!r}"[:60] + ": true or false is required",
        )
    return bool(value) != (key in _SAYS_NO)
