"""A style prompt: which one is asked for, how it joins a system turn, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sftplay.data.tokenizing.special_tokens import special_in
from sftplay.data.tokenizing.tokenizer import read_tokenizer
from sftplay.errors import DataError, NotFoundError, UsageError
from sftplay.places import find_model
from sftplay.stages import Job


@dataclass(frozen=True)
class StylePrompt:
    """A style prompt, and where it goes in the system turn."""

    prompt: str
    mode: str

    @property
    def section(self) -> dict[str, str]:
        """The settings in force, whether they come from the config or from options."""
        return {"style.prompt": self.prompt, "style.mode": self.mode}

    def system(self, before: str) -> str:
        """Return the new system text; `before` is empty where there was none."""
        if not before.strip() or self.mode == "replace":
            return self.prompt
        parts = (self.prompt, before) if self.mode == "prepend" else (before, self.prompt)
        return "\n\n".join(parts)


def style_of(job: Job) -> StylePrompt | None:
    """Return the style asked for by options, else by the config for this dataset, else for all;
    None where there is no prompt.
    """
    settings = job.settings.style
    prompt = job.options.get("style") or settings.prompts.get(
        job.settings.data.suffix or "", settings.prompt
    )
    return (
        StylePrompt(prompt, job.options.get("mode") or job.settings.style.mode)
        if prompt and prompt.strip()
        else None
    )


def section_of_record(record: Mapping[str, str]) -> dict[str, str]:
    """The section of a style as facts of a stamp record it: prompt and mode."""
    return {"style.prompt": record["prompt"], "style.mode": record["mode"]}


def refuse_unwritable(prompt: str) -> None:
    """Raise UsageError where a prompt can't be written as UTF-8 (bytes of another encoding on the
    command line).
    """
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "the style prompt is not UTF-8", where="--style", todo="check the terminal's locale"
        ) from None


def refuse_special(prompt: str, job: Job) -> None:
    """Raise UsageError (2) where the prompt spells a special token of the model. Without the model
    in the cache nothing is known; `render` looks again.
    """
    if job.settings.data.special_tokens_in_text == "keep":
        return
    try:
        tokenizer = read_tokenizer(find_model(job.settings))
    except (NotFoundError, DataError):
        return
    if found := special_in(prompt, tokenizer):
        raise UsageError(
            f"the style prompt spells the special token {found[0]!r}, which would become that token in every row",
            where="style",
            todo="write it differently, or accept it: --set data.special_tokens_in_text=keep",
        )
