"""Processed rows in, rendered rows out, a block of lines at a time: pure, so that blocks can go to
several processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from sftplay.data.blocks import Block
from sftplay.data.findings import Finding
from sftplay.data.formats.row_format import TEMPLATE_KWARGS
from sftplay.data.rendering.adapt import AS_PROCESSED, MessageForm
from sftplay.data.rendering.block import RenderedBlock, RenderedLines
from sftplay.data.rendering.completeness import lost_finding, lost_in_shape
from sftplay.data.rendering.cut import NOTHING, Cut, Turns, cut_rows
from sftplay.data.rendering.plans import Planner, planner_for
from sftplay.data.rendering.row_reader import read_row
from sftplay.data.rendering.template import ChatTemplate, RefusedConversationError
from sftplay.data.rendering.tool_checks import check_tools, with_tool_texts
from sftplay.data.tokenizing.special_tokens import (
    SpecialTokens,
    count_specials,
    may_spell_special,
)
from sftplay.errors import DataError

# rows of a block; one put together from a plan is rendered in full too, to see that both agree
COMPARE_EVERY = 1000
_REWRITTEN = Finding(
    "rewritten_turns",
    "warning",
    "the chat template renders an earlier answer differently from how the model will have to write it",
    "data.turns: unroll trains each answer as it is written",
)
_CHANGED = Finding(
    "changed_answers",
    "warning",
    "the chat template changes the text of an answer (reasoning taken out of it, as a rule)",
    "compare: inv data.show --row ID; data.reasoning: strip takes reasoning out of the rows themselves",
)
_UNSUPPORTED = (
    "such rows are not supported with this chat template: take them out, or give another template: "
    "data.chat_template"
)
_SPELLED = "text spells a special token (data.special_tokens_in_text: drop)"
_MERGED = Finding(
    "merged_systems",
    "note",
    "the system turn was merged into the first user turn (data.system_unsupported)",
)


@dataclass(frozen=True)
class RenderSettings:
    """Everything that decides how a row is rendered.

    Attributes:
        specials: the tokenizer's special tokens.
        spelled: what happens to a row whose text spells one of them.
        system: what to do with a system turn: the template renders it, refuse the row, or merge it.
        system_problem: what the template does with a system turn instead of rendering it.
        form: how the template takes messages.
        name: of the template, for a person.
    """

    template: ChatTemplate
    eot: str
    turns: Turns
    specials: tuple[str, ...]
    spelled: SpecialTokens
    system: Literal["render", "error", "merge"]
    system_problem: str = ""
    form: MessageForm = AS_PROCESSED
    name: str = "the model"


def render_block(recipe: RenderSettings, block: Block) -> RenderedBlock:
    """Render every row of a block; rows that can't be are findings."""
    result = RenderedBlock(block.file, len(block.lines))
    rows, rejects = RenderedLines(result), []
    planner = planner_for(recipe.template, recipe.eot, recipe.turns)
    may_spell = may_spell_special(recipe.specials, block.lines)
    for number, line in enumerate(block.lines.split(b"\n"), block.first):
        if not line or line.isspace():
            continue
        result.read += 1
        compare = result.read % COMPARE_EVERY == 1
        spells = may_spell and may_spell_special(recipe.specials, line)
        place = f"{block.file}:{number}"
        try:
            row = read_row(line, result.findings)
            place += f" ({row['id']})"
            if spells and not count_specials(
                recipe.specials,
                with_tool_texts(row),
                place,
                result.findings,
                recipe.spelled,
            ):
                if recipe.spelled == "drop":
                    result.set_aside += 1
                    rejects.append(_reject(block, number, _SPELLED, line))
                continue
            _render_row(recipe, planner, row, place, number, rows, compare=compare)
        except RefusedConversationError as error:
            result.rejected += 1
            result.findings.add(Finding("rejected", "reject", error.what, _UNSUPPORTED), place)
            rejects.append(_reject(block, number, error.what, line))
        except DataError as error:
            result.findings.add(Finding("failed", "fatal", error.what, error.todo), place)
    result.rejects = b"".join(line + b"\n" for line in rejects)
    return rows.done()


def _reject(block: Block, number: int, reason: str, line: bytes) -> bytes:
    entry = {"file": block.file, "line": number, "reason": reason, "row": orjson.Fragment(line)}
    return orjson.dumps(entry)


def _render_row(
    recipe: RenderSettings,
    planner: Planner,
    row: Mapping[str, Any],
    place: str,
    number: int,
    rows: RenderedLines,
    *,
    compare: bool,
) -> None:
    messages, result = row["messages"], rows.result
    has_system = "system" in [message["role"] for message in messages]
    if has_system and recipe.system != "render":
        if recipe.system == "error":
            result.findings.add(_no_system(recipe.system_problem), place)
            return
        messages = merge_system(messages)
        result.findings.add(_MERGED, place)
    if more := recipe.form.finding(messages):
        result.findings.add(more, place)
    messages = recipe.form.adapted(messages)
    cuts = _cuts(recipe, planner, row, messages, compare=compare)
    if "tools" in row or any("tool_calls" in message for message in messages):
        check_tools(row, messages, cuts, place, result.findings)
    for word in dict.fromkeys(word for cut in cuts for _, word in cut.lost):
        result.findings.add(lost_finding(word, recipe.name), place)
    for part, cut in enumerate(cuts, 1):
        result.rows += 1
        result.turns += len(cut.pairs)
        result.without_system += not has_system
        if cut.rewritten:
            result.findings.add(_REWRITTEN, place, cut.rewritten)
        if cut.changed:
            result.findings.add(_CHANGED, place, cut.changed)
        rows.add_cut(f"{row['id']}-{part}" if recipe.turns == "unroll" else row["id"], cut, number)


def _cuts(
    recipe: RenderSettings,
    planner: Planner,
    row: Mapping[str, Any],
    messages: list[dict[str, Any]],
    *,
    compare: bool,
) -> list[Cut]:
    given = row.get("tools"), row.get(TEMPLATE_KWARGS) or {}
    planned = planner.cuts(messages) if given == NOTHING else None
    if planned is not None and not compare:
        return planned
    cuts = list(cut_rows(recipe.template, recipe.eot, messages, recipe.turns, given))
    assert planned is None or planned == cuts, (
        f"row {row['id']}: the plan of the chat template does not hold"
    )
    if planned is None and recipe.turns != "unroll":
        return [
            cut._replace(lost=(*cut.lost, *lost_in_shape(recipe.template, messages, given[0])))
            for cut in cuts
        ]
    return cuts


def merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put each system turn in front of the user turn that follows it, a blank line between.

    Raises:
        RefusedConversationError: no user turn follows (65).
    """
    merged: list[dict[str, Any]] = []
    waiting = ""
    for message in messages:
        if message["role"] == "system":
            waiting += (message.get("content") or "") + "\n\n"
        elif waiting and message["role"] == "user":
            merged.append({**message, "content": waiting + (message.get("content") or "")})
            waiting = ""
        else:
            merged.append(message)
    if waiting:
        raise RefusedConversationError(
            "a system turn that no user turn follows can't be merged into one"
        )
    return merged


def _no_system(problem: str) -> Finding:
    return Finding(
        "system_turn",
        "fatal",
        f"the chat template can't render a system turn: it {problem}",
        "data.system_unsupported: merge_into_user puts it in front of the first user turn",
    )
