"""Words that are encoded once: most words of a text were in an earlier one, and looking one up
costs less than encoding it.

Byte-level BPE (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019) splits
a text into words by one regular expression and encodes each by itself, so the ids of a text are the
ids of its words, joined. Python's `re` does the splitting here. Which characters are letters,
numbers or blanks is asked of the tokenizer itself, one character at a time, so that no two versions
of Unicode can disagree. Tokenizers of another kind, and texts with a character of no clear class,
are left to the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from sftplay.data.tokenizing.byte_decode import TokenBytes, decodes_to

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_CHARACTERS = 16_000_000  # of all words kept; then the cache starts again
_COMPARE_EVERY = 1000  # texts, between two that the library encodes too, to see that both agree
_SHORT, _MAX_FREQUENT = 200, 1000  # characters; texts whose words are kept
_DECIDING = 2  # characters after a border
_ASCII = [chr(code) for code in range(128)]
# The expression of the ByteLevel pre-tokenizer of Hugging Face's tokenizers, with a set of
# characters for each of its classes.
_CONTRACTION = "'(?:s|t|re|ve|m|ll|d)"
_WORDS = _CONTRACTION + "| ?{L}+| ?{N}+| ?{O}+|{S}+(?!{LNO})|{S}+|(?s:.)"
_WORDS_AND_DIGITS = (
    _CONTRACTION + "| ?{L}+|{N}| ?{O}+|{S}+(?!{LO})|{S}+|(?s:.)"
)  # a digit ends what lies before it
_NEVER, _NEVER_A_CHARACTER = "(?!)", "[^\0-\U0010ffff]"


@dataclass(frozen=True)
class SplitRule:
    """A pre-tokenizer's rule for splitting texts: `digits`, where each digit is a word of its own;
    `count`: of the words of a text.
    """

    digits: bool
    count: Callable[[str], int]

    def class_of(self, character: str) -> str:
        """Return L (letter), N (number), O (other), S (blank), or nothing where the tokenizer does
        not treat it as one of these.
        """
        if self.digits and self.count(character * 2) == 2 and self.count(f"a{character}a") == 3:
            return "N"
        for name, known in (("L", "a"), ("N", "1"), ("O", "!"), ("S", " ")):
            if self.count(known + character) == 1 and not (name == "N" and self.digits):
                return name
        return ""


class WordCache:
    """Encodes texts by their words.

    Args:
        backend: a tokenizer for which `split_rule_of` knows the rule.
        token_bytes: the bytes of each of its tokens.
    """

    def __init__(self, backend: Tokenizer, rule: SplitRule, token_bytes: TokenBytes) -> None:
        self._backend, self._rule, self._token_bytes = backend, rule, token_bytes
        added = {
            token.content: number for number, token in backend.get_added_tokens_decoder().items()
        }
        self._added = {text: np.int32(number).tobytes() for text, number in added.items()}
        longest_first = sorted(added, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, longest_first)) or _NEVER})").split
        self._added_first = {text[0] for text in added}
        beginnings = {text[:end] for text in added for end in range(1, len(text))}
        self._begins_added = re.compile(
            f"(?:{'|'.join(map(re.escape, beginnings)) or _NEVER})\\Z"
        ).search
        self._known, self._size = dict(self._added), 0
        self._frequent: dict[str, list[str]] = {}
        self._classes: dict[str, str] = {}
        self._find = self._compiled(_ASCII)

    def encode(self, texts: Sequence[str]) -> list[bytes | None]:
        """Encode texts: int32 ids of each as bytes; None for a text that is left to the library.

        What is returned decodes to the text: each word was compared with the bytes of its tokens
        when it was encoded.
        """
        self._learn_characters("".join(texts))
        words, known = (
            [self._words_of(text) for text in texts],
            self._known,
        )  # another thread may start a new cache meanwhile
        encoded = [_joined(known, found) for found in words]
        new = [place for place, ids in enumerate(encoded) if ids is None]
        self._learn_words(known, set().union(*(words[place] for place in new)))
        for place in new:
            encoded[place] = _joined(known, words[place])
        self._compare(texts, encoded)
        return encoded

    def border(self, before: str, after: str) -> tuple[str, str]:
        """Return as much of two adjoining texts as decides whether a word reaches over their border.

        Two characters behind it do: a contraction has two after its apostrophe ("'re"), and a blank
        goes to the word behind it, unless another blank follows. Added tokens may be longer.
        """
        near = after[:_DECIDING]
        has_token = self._begins_added(before) or not self._added_first.isdisjoint(near)
        return before, after if has_token else near

    def parts_at(self, borders: Sequence[tuple[str, str]]) -> list[bool]:
        """Tell for pairs of texts whether the words of both are those of the whole."""
        self._learn_characters("".join(chain.from_iterable(borders)))
        return [
            self._words_of(before + after) == self._words_of(before) + self._words_of(after)
            for before, after in borders
        ]

    def _words_of(self, text: str) -> list[str]:
        """Return the words and added tokens of a text; a character of no class is a word that is
        never known.
        """
        parts = self._split(text)  # texts between added tokens, and these at odd places
        words: list[str] = []
        for place, part in enumerate(parts):
            if place % 2:
                words.append(part)
            elif part:
                words += self._frequent.get(part) or self._find_in(part)
        return words

    def _find_in(self, text: str) -> list[str]:
        """Split a text without added tokens. Short ones, a role's header say, are kept: a chat
        template repeats them in every row.
        """
        words = self._find(text)
        if len(text) <= _SHORT and len(self._frequent) < _MAX_FREQUENT:
            self._frequent[text] = words
        return words

    def _learn_words(self, known: dict[str, bytes], words: set[str]) -> None:
        missing = [word for word in words if word not in known and self._classes.get(word) != ""]
        found = self._backend.encode_batch_fast(missing, add_special_tokens=False)
        for word, encoding in zip(missing, found, strict=True):
            if decodes_to(self._token_bytes, [word], [encoding.ids]):
                known[word] = np.array(encoding.ids, np.int32).tobytes()
        self._size += sum(map(len, missing))
        if self._size > MAX_CHARACTERS:
            self._known, self._size = dict(self._added), 0

    def _learn_characters(self, text: str) -> None:
        if not text.isascii() and (new := set(text) - self._classes.keys()):
            self._find = self._compiled(new)

    def _compiled(self, new: Iterable[str]) -> Callable[[str], list[str]]:
        self._classes |= {character: self._rule.class_of(character) for character in new}
        members = {
            name: "".join(char for char, of in self._classes.items() if of == name)
            for name in "LNOS"
        }
        members |= {
            "LO": members["L"] + members["O"],
            "LNO": members["L"] + members["N"] + members["O"],
        }
        pattern = _WORDS_AND_DIGITS if self._rule.digits else _WORDS
        return re.compile(
            pattern.format(**{name: _set_of(chars) for name, chars in members.items()})
        ).findall

    def _compare(self, texts: Sequence[str], encoded: Sequence[bytes | None]) -> None:
        for place in range(0, len(texts), _COMPARE_EVERY):
            if (ids := encoded[place]) is not None:
                known = self._backend.encode(texts[place], add_special_tokens=False).ids
                assert np.frombuffer(ids, np.int32).tolist() == known, (
                    f"words do not add up to {texts[place]!r}"
                )


def _joined(known: Mapping[str, bytes], words: Sequence[str]) -> bytes | None:
    try:
        return b"".join(map(known.__getitem__, words))
    except KeyError:
        return None


def _set_of(characters: str) -> str:
    return f"[{re.escape(characters)}]" if characters else _NEVER_A_CHARACTER


def split_rule_of(backend: Tokenizer) -> SplitRule | None:
    """Return how a tokenizer splits texts; None where its words can't be encoded one by one, or the
    rule is another one.

    Known: the ByteLevel pre-tokenizer with its own regular expression, alone or behind one that
        makes each digit a word (SmolLM).
    """
    added = backend.get_added_tokens_decoder().values()
    plain = not any(
        token.lstrip or token.rstrip or token.single_word or token.normalized for token in added
    )
    splitter = backend.pre_tokenizer
    if (
        backend.normalizer is not None
        or not plain
        or splitter is None
        or getattr(backend.model, "dropout", True)
    ):
        return None
    steps = _steps_of(json.loads(splitter.__getstate__()))
    if (
        not steps
        or steps[-1] | {"trim_offsets": True} != _BYTE_LEVEL
        or steps[:-1] not in ([], [_DIGITS])
    ):
        return None
    return SplitRule(len(steps) > 1, lambda text: len(splitter.pre_tokenize_str(text)))


_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _steps_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    return state["pretokenizers"] if state["type"] == "Sequence" else [state]
