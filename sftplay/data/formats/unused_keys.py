"""Keys of rows, messages and tools that are not read: a finding for each, graver where another
toolkit lets the key change training.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from sftplay.data.findings import Finding
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError

KIND = "unused_keys"
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_WEIGHTS = ("weight", "sample_weight", "loss_weight", "loss_scale")
_MEANINGS = {
    "rejected": "an answer that is not preferred: only the preferred one can be trained",
    "chosen": "a preferred answer: data.fields.assistant can name it",
    "labels": "ready-made labels: they are made from the messages here",
    "input_ids": "ready-made tokens: they are made from the messages here",
    "context": "text for the prompt, which only rows of question and answer can bring in a key of its own",
    "history": "earlier turns, which only rows of question and answer can bring in a key of its own",
    "train_detail": "parts of an answer that are trained: only whole answers can be marked",
}
# By such a word in its name, a key may change what other toolkits train.
_WATCHED = re.compile(
    r"loss|mask|weight|(?:^|_)(?:un)?trainable|(?:^|_)train|labels?(?:_|$)|history|context|images?(?:_|$)|audio|video|(?<!finish_)(?<!stop_)reason|think"
    r"|thought|(?:^|_)cot(?:_|$)|chain_of|tool|function|system|reject|chosen|prefer|input_ids|(?:^|_)(?:channel|recipient|eot|eos)(?:_|$)"
)
_PLACEHOLDER = re.compile(rb"<(?:image|video|audio)>")
PLACEHOLDERS = Finding(
    "media_placeholders",
    "warning",
    "a placeholder for a picture, a film or a sound stands in a text (`<image>`), and would be trained as text",
    "take it out of the raw rows, or take such rows out",
)


def read_row_keys(row: dict[str, Any], known: frozenset[str], notes: RowNotes) -> None:
    """Look at the keys of a row that its format does not read: note them.

    Raises:
        BadRowError: one that forbids to train the row.
    """
    for key, value in row.items():
        if key not in known and not _is_settled(key, value):
            notes.skip(key, value)


def _is_settled(key: str, value: Any) -> bool:
    """Tell whether a key says nothing more than that the row is to be trained as it is."""
    name = key.lower()
    if name == "label" and (
        type(value) is bool or (type(value) is str and value.lower() in ("true", "false"))
    ):
        if value is False or str(value).lower() == "false":
            raise BadRowError(
                "a bad answer (`label: false`)", "KTO's rows: only the good ones can be trained"
            )
        return True
    if name in _WEIGHTS and type(value) in (int, float, bool):
        if value != 1:
            raise BadRowError(
                "a weight that is not 1", f"`{key}` is {value!r}: rows can't be weighted"[:100]
            )
        return True
    if name in ("train", "loss") and type(value) is bool:
        if not value:
            raise BadRowError("a row that is marked as not trained", f"`{key}` is false")
        return True
    if name in MEDIA and value:
        raise BadRowError(
            "a row with pictures, films or sounds", f"`{key}`: only texts can be trained on"
        )
    return False


def unused_key(name: str) -> Finding:
    """Return the finding for a key that is not read."""
    last = name.rpartition(".")[2].lower()
    meaning = next(
        (text for word, text in _MEANINGS.items() if re.fullmatch(rf"{word}(_\w+)?", last)), ""
    )
    if not meaning and not _WATCHED.search(last):
        return Finding(KIND, "note", f"`{name}` is not used")
    todo = "say what it is by data.fields, rename it where it means something else, or take it out of the raw rows"
    return Finding(
        KIND,
        "warning",
        f"`{name}` is not used: {meaning or 'by its name it may change what is trained'}",
        todo,
    )


def example(value: Any) -> str:
    """Return a value in a few characters."""
    text = (
        value
        if type(value) is str
        else orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    )
    return repr(text if len(text) <= 40 else text[:39] + "…") if type(value) is str else text[:40]


def has_placeholder(content: bytes) -> bool:
    """Tell whether messages as JSON hold a placeholder for what is no text."""
    return _PLACEHOLDER.search(content) is not None
