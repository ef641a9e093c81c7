"""Advice for templates that can't be trained as they are: each piece is tried before it is given."""

from __future__ import annotations

from collections.abc import Iterator

from sftplay.data.rendering.probe import TemplateTraits, find_traits, token_after_answer
from sftplay.data.rendering.template import ChatTemplate, checked_template
from sftplay.data.rendering.template_choice import (
    closed_by,
    prompting_as_answered,
    read_shipped,
    shipped_form,
)
from sftplay.data.tokenizing.tokenizer import TokenizerFacts
from sftplay.errors import DataError

_NOTHING_HELPS = (
    "this model's chat template is not supported in any form: take another model, or give a "
    "template for text that begins an answer as it asks for one and closes it: data.chat_template"
)


def traits_with_advice(
    template: ChatTemplate, tokenizer: TokenizerFacts, eot: str | None
) -> TemplateTraits:
    """Return the traits of a template.

    Raises:
        DataError: it can't be trained; what is advised was tried with this very template (65).
    """
    try:
        return find_traits(template, tokenizer, eot)
    except DataError as error:
        helps: list[str] = []
        for form, token, todo, is_last_resort in _forms(template, tokenizer, eot):
            if not (helps and is_last_resort) and _can_be_trained(form, tokenizer, token):
                helps.append(todo)
        advice = "\nor ".join(helps) or _NOTHING_HELPS
        raise DataError(error.what, where=error.where, todo=advice) from None


def _can_be_trained(form: ChatTemplate, tokenizer: TokenizerFacts, eot: str | None) -> bool:
    try:
        find_traits(form, tokenizer, eot)
    except DataError:
        return False
    return True


def _forms(
    template: ChatTemplate, tokenizer: TokenizerFacts, eot: str | None
) -> Iterator[tuple[ChatTemplate, str | None, str, bool]]:
    """Yield (form, end-of-turn token, what to set, whether only where nothing else helps)."""
    if name := shipped_form(template):
        source = read_shipped(name)
        yield (
            checked_template(source, template.named, template.date, name),
            eot,
            f"take the form that TRL ships for training: --set data.chat_template={name}",
            False,
        )
    token = token_after_answer(template, tokenizer) if eot is None else ""
    if token:
        todo = f"name the token that ends a turn: --set data.eot='{token}'"
        yield closed_by(template, token), token, todo, False
    try:
        form = prompting_as_answered(template)
    except DataError:
        return
    todo = (
        "ask for an answer in the way in which the template begins one, here and at inference: "
        "--set data.generation_prompt=answer"
    )
    yield form, eot, todo, False
    if token:
        yield closed_by(form, token), token, f"{todo} --set data.eot='{token}'", True
