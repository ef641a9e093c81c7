"""Rows whose pieces can't be encoded one by one: a tokenizer of the SentencePiece kind treats the
beginning of a text in its own way.

Such tokenizers put a ▁ in front of a text (Metaspace, or a Prepend normalizer), or let a special
token take the white space around it (`rstrip`, `lstrip`). So a row is encoded as a whole, as the
chat template's text is at inference, and cut at the borders of its pieces. Where a token reaches
over the border between a prompt and its answer, or the prompt alone reads otherwise, both can't
hold: then the prompt is encoded as at inference, and the answer as its continuation.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# Text in front of an answer that must be continued; one of them ends a token and is told apart from
# what follows.
_ANCHORS = ("\n", "0", "|", "a", "。")
_LOCAL_NORMALIZERS = {
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Replace",
    "Lowercase",
    "StripAccents",
    "Nmt",
    "ByteLevel",
}
_LOCAL_SPLITTERS = {"Split", "Digits", "Punctuation", "UnicodeScripts", "ByteLevel"}


def encodes_pieces_alone(backend: Tokenizer) -> bool:
    """Tell whether a piece of a text has the ids that it has as a continuation of any other."""
    tokens = backend.get_added_tokens_decoder().values()
    plain = not any(token.lstrip or token.rstrip or token.single_word for token in tokens)
    normalizers = _steps_of(backend.normalizer, "normalizers")
    splitters = _steps_of(backend.pre_tokenizer, "pretokenizers")
    return (
        plain
        and all(step["type"] in _LOCAL_NORMALIZERS for step in normalizers)
        and all(
            step["type"] in _LOCAL_SPLITTERS and not step.get("add_prefix_space")
            for step in splitters
        )
    )


def _steps_of(part: Any, name: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    state = json.loads(part.__getstate__())
    steps = state[name] if state["type"] == "Sequence" else [state]
    return [
        inner for step in steps for inner in (step[name] if step["type"] == "Sequence" else [step])
    ]


@dataclass(frozen=True)
class JointEncoder:
    """Encodes rows as wholes."""

    backend: Tokenizer

    def encode(self, rows: Sequence[Sequence[str]]) -> tuple[list[list[int]], list[bool]]:
        """Encode rows given as input, target, input, target …

        Returns:
            The ids of each piece, row after row, and for each row whether its ids are those of its
            whole text.
        """
        wholes = self.backend.encode_batch(
            ["".join(pieces) for pieces in rows], add_special_tokens=False
        )
        prompts = [prompt for pieces in rows for prompt in _prompts_of(pieces)]
        encoded = iter(self.backend.encode_batch_fast(prompts, add_special_tokens=False))
        ids: list[list[int]] = []
        fits = []
        for pieces, whole in zip(rows, wholes, strict=True):
            made, fit = self._cut(
                pieces, whole, [next(encoded).ids for _ in range(len(pieces) // 2)]
            )
            ids += made
            fits.append(fit)
        return ids, fits

    def _cut(
        self, pieces: Sequence[str], whole: Encoding, prompts: Sequence[list[int]]
    ) -> tuple[list[list[int]], bool]:
        joint, offsets = whole.ids, whole.offsets
        made: list[list[int]] = []
        fits, place, done = True, 0, 0  # place: in the text; done: tokens before the next input
        for number, prompt in enumerate(prompts):
            given, target = pieces[2 * number], pieces[2 * number + 1]
            start, end = place + len(given), place + len(given) + len(target)
            first, last = len(prompt), bisect_left(offsets, (end,))
            if (
                prompt == joint[:first]
                and (first == len(joint) or offsets[first][0] >= start)
                and first >= done
            ):
                made += [joint[done:first], joint[first:last]]
            else:
                same = prompt[:done] == joint[:done]
                made += [
                    prompt[done:] if same else joint[done : bisect_left(offsets, (start,))],
                    self._continued(target),
                ]
                fits = False
            place, done = end, last
        return made, fits

    def _continued(self, text: str) -> list[int]:
        """Return the ids of a text behind another one."""
        for anchor in _ANCHORS:
            before = self.backend.encode(anchor, add_special_tokens=False).ids
            both = self.backend.encode(anchor + text, add_special_tokens=False)
            count = len(before)
            if both.ids[:count] == before and all(
                start >= len(anchor) for start, _ in both.offsets[count:]
            ):
                return list(both.ids[count:])
        return list(self.backend.encode(text, add_special_tokens=False).ids)


def _prompts_of(pieces: Sequence[str]) -> list[str]:
    """Return the text before each target: what the model is given at inference."""
    return ["".join(pieces[:place]) for place in range(1, len(pieces), 2)]
