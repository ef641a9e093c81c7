"""Messages → the prompt's tokens, as the run's template renders them.

Used by chat, batch inference and the merge's proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from sftplay.data.rendering.probe import find_traits
from sftplay.data.rendering.rows import merge_system
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.special_tokens import special_in
from sftplay.data.tokenizing.tokenizer import TokenizerFacts, read_tokenizer
from sftplay.errors import DataError
from sftplay.settings import DataSettings

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Prompter:
    """Renders and tokenizes conversations that end in a user turn.

    Attributes:
        facts: the tokenizer's special tokens.
        keep_specials: text that spells a special token becomes it; else such text is refused.
        system: what happens to a system turn: the template renders it, it is merged into the user
            turn, or refused.
        window: most tokens that the model reads, prompt and answer together; None where nobody
            knows.
        eot_id: the token that ends a turn.
        vocabulary: rows of the model's embedding; None where nobody knows.
    """

    template: ChatTemplate
    tokenizer: PreTrainedTokenizerFast
    facts: TokenizerFacts
    keep_specials: bool
    system: str
    window: int | None
    eot_id: int
    vocabulary: int | None = None

    def ids(self, messages: Messages) -> list[int]:
        """The prompt's tokens, up to where the answer begins.

        Raises:
            DataError: text spells a special token, or the template refuses the conversation (65).
        """
        self._refuse_specials(messages)
        turns = [dict(message) for message in messages]
        if self.system != "render" and any(turn["role"] == "system" for turn in turns):
            if self.system == "error":
                raise DataError(
                    "the model's chat template has no system turn",
                    todo="leave the system prompt out, or put it in front of the first question: "
                    "--set data.system_unsupported=merge_into_user",
                )
            turns = merge_system(turns)
        text = self.template.render(turns, True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.vocabulary is not None and max(ids, default=0) >= self.vocabulary:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise DataError(
                f"the prompt holds the token {token!r} ({max(ids)}), and the model's embedding has "
                f"{self.vocabulary:,} rows",
                todo="use the model's own tokenizer and chat template",
            )
        return ids

    def room(self, ids: Sequence[int], wanted: int) -> int:
        """Return the longest possible answer behind this prompt, `wanted` at most; 0 or less if the
        prompt fills the window.
        """
        return wanted if self.window is None else min(wanted, self.window - len(ids))

    def text(self, ids: Sequence[int]) -> str:
        """An answer's text."""
        return plain_text(self.tokenizer, ids)

    def _refuse_specials(self, messages: Messages) -> None:
        if self.keep_specials:
            return
        found = sorted(
            {
                token
                for message in messages
                for token in special_in(str(message["content"]), self.facts)
            }
        )
        if found:
            raise DataError(
                f"the text spells the special token {', '.join(map(repr, found))}, which would end or open a turn",
                todo="write it differently, or let it become that token: --set data.special_tokens_in_text=keep",
            )


def plain_text(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """Text of tokens without special ones, spaces as they are."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


def window_of(model: Any) -> int | None:
    """Most tokens that a model reads, as its config says; None where it does not."""
    found = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def make_prompter(
    folder: Path,
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerFast,
    data: DataSettings,
    eot: str | None,
) -> Prompter:
    """A prompter for the tokenizer in `folder`.

    Args:
        folder: where tokenizer (and, of a model, config.json) lie.
        template: the run's frozen template.
        tokenizer: the same folder's tokenizer.
        data: what to do with system turns and special tokens.
        eot: the run's end-of-turn token; None: found by probing the template.
    """
    facts = read_tokenizer(folder)
    traits = find_traits(template, facts, eot)
    system = (
        "render"
        if traits.system_supported
        else "merge"
        if data.system_unsupported == "merge_into_user"
        else "error"
    )
    keep = data.special_tokens_in_text == "keep"
    return Prompter(template, tokenizer, facts, keep, system, None, traits.eot_id)
