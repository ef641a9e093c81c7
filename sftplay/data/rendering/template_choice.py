"""The chat template that a config asks for: the tokenizer's own, a file, one that TRL ships, and the
forms of these that can be trained where the template itself can't.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from sftplay.data.formats.reasoning import REASONING_KEYS
from sftplay.data.rendering.template import ChatTemplate, checked_template
from sftplay.data.tokenizing.tokenizer import TokenizerFacts
from sftplay.errors import DataError, NotFoundError
from sftplay.settings import DataSettings
from sftplay.untrusted import read_template

TRL = "trl:"  # in front of the name of a template that the installed TRL ships
_QUESTION, _ANSWER, _REASONING = "probe the question", "probe the answer", "probe the reasoning"
_ADVICE = "check data.chat_template in the config"


def choose_template(
    data: DataSettings, tokenizer: TokenizerFacts, date: str | None = None
) -> ChatTemplate:
    """Return the config's template, else the tokenizer's own, in the form that the config asks for.

    Raises:
        NotFoundError: the config names a template that is not there (66).
        DataError: there is no template at all, it is not valid Jinja, or it does not have the form
            (65).
    """
    template = _named(data.chat_template, tokenizer, date)
    if data.eot is not None and _leaves_open(template):
        template = closed_by(template, data.eot)
    return prompting_as_answered(template) if data.generation_prompt == "answer" else template


def _named(chosen: str | None, tokenizer: TokenizerFacts, date: str | None) -> ChatTemplate:
    if chosen is not None:
        if chosen.startswith(TRL):
            source = read_shipped(chosen)
        elif Path(chosen).is_file():
            source = read_template(Path(chosen))
        else:
            raise NotFoundError("no such chat template", where=chosen, todo=_ADVICE)
        return checked_template(source, tokenizer.named, date, chosen)
    if tokenizer.chat_template is None:
        raise DataError(
            "the model's tokenizer has no chat template",
            where=str(tokenizer.folder),
            todo="give one as a Jinja file: data.chat_template, or take the instruct version of the model",
        )
    return checked_template(tokenizer.chat_template, tokenizer.named, date, str(tokenizer.folder))


def _trl_folder() -> Path | None:
    """Find TRL's templates; TRL itself is not imported, it would bring torch."""
    found = find_spec("trl")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "chat_templates" if places else None


def read_shipped(chosen: str) -> str:
    """Return the text of a template that the installed TRL ships, by `trl:NAME`.

    Raises:
        NotFoundError: it ships none of that name (66).
    """
    folder, name = _trl_folder(), chosen.removeprefix(TRL)
    path = folder / f"{name}.jinja" if folder else None
    if path is None or not path.is_file() or os.sep in name:
        what = "the installed TRL has no such chat template"
        raise NotFoundError(what, where=chosen, todo=_ADVICE)
    return path.read_text(encoding="utf-8")


def shipped_form(template: ChatTemplate) -> str:
    """Return the name of the form for training (with `{% generation %}`) that the installed TRL
    ships of this very template; empty where it ships none.
    """
    folder = _trl_folder()
    for path in sorted(folder.glob("*_training.jinja")) if folder else ():
        plain = path.with_name(path.name.replace("_training", ""))
        if plain.is_file() and plain.read_text(encoding="utf-8").strip() == template.source.strip():
            return f"{TRL}{path.stem}"
    return ""


def closed_by(template: ChatTemplate, eot: str) -> ChatTemplate:
    """Return the template with an end-of-turn token behind a last answer, for templates whose next
    turn's opening ends an answer (GLM-4: `<|user|>`).
    """
    condition = "messages and messages[-1]['role'] == 'assistant' and not add_generation_prompt"
    ending = f"{{%+ if {condition} %}}{{{{ {eot!r} }}}}{{% endif %}}"
    return replace(template, source=template.source.removesuffix("\n") + ending)


def _leaves_open(template: ChatTemplate) -> bool:
    try:
        return template.render(_talk(), False).endswith(_ANSWER)
    except DataError:
        return False


def prompting_as_answered(template: ChatTemplate) -> ChatTemplate:
    """Return the template with another generation prompt: what it writes in front of every answer,
    with reasoning and without.

    Raises:
        DataError: it does not write an answer behind the conversation before it (65).
    """
    opening = _opening(template)
    if not opening:
        raise DataError(
            "the chat template has no beginning of an answer that could be its generation prompt",
            todo="leave data.generation_prompt out, or give another template: data.chat_template",
        )
    asked = "sftplay_asked"
    head = f"{{% set {asked} = add_generation_prompt %}}{{% set add_generation_prompt = false +%}}"
    tail = f"{{%+ if {asked} %}}{{{{ {opening!r} }}}}{{% endif %}}"
    return replace(template, source=head + template.source.removesuffix("\n") + tail)


def _opening(template: ChatTemplate) -> str:
    """Return what stands between a question and any answer to it; empty where nothing does."""
    openings = []
    try:
        before = template.render(_talk()[:1], False)
        for more in ({}, *({key: _REASONING} for key in REASONING_KEYS)):
            rendering = template.render(_talk(**more), False)
            places = [at for text in (_ANSWER, *more.values()) if (at := rendering.find(text)) > 0]
            if not places or not rendering.startswith(before):
                return ""
            openings.append(rendering[len(before) : min(places)])
    except DataError:
        return ""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*openings, strict=False))
    return "".join(letters[0] for letters in alike)


def _talk(**more: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": _QUESTION},
        {"role": "assistant", "content": _ANSWER, **more},
    ]
