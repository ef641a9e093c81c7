"""Text in the rendered rows that is not in the data: reported, because the model is prompted or
trained with it.
"""

from __future__ import annotations

from sftplay.data.findings import Finding, Findings
from sftplay.data.rendering.probe import TemplateTraits
from sftplay.data.rendering.template import ChatTemplate

ADDED = "template_adds"


def count_additions(
    template: ChatTemplate, traits: TemplateTraits, without_system: int, findings: Findings
) -> None:
    """Count what the template adds; `without_system`: rows that bring no system turn."""
    if traits.default_system and without_system:
        what = f"rows have no system prompt, and the chat template adds its own: {_short(traits.default_system)}"
        findings.add(
            _added(what, "say your own instead: style.prompt (inv style)"), count=without_system
        )
    if traits.preamble:
        findings.add(
            _added(f"the chat template begins every conversation with: {_short(traits.preamble)}"),
            count=0,
        )
    if traits.answer_prefix.strip():
        what = f"the model is trained to begin its answer with: {_short(traits.answer_prefix)}"
        findings.add(_added(what, "another template changes that: data.chat_template"), count=0)
    if template.date:
        what = f"the chat template prints today's date: {template.date} stays in these rows and in runs made of them"
        findings.add(_added(what), count=0)


def _added(what: str, todo: str = "") -> Finding:
    return Finding(ADDED, "note", what, todo)


def _short(text: str) -> str:
    return repr(text if len(text) <= 90 else text[:89] + "…")
