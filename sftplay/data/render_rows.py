"""Processed rows in, rendered rows out, a block of lines at a time: pure, so that blocks can go to several processes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

import orjson

from sftplay.data.blocks import Block
from sftplay.data.findings import Finding, Tally
from sftplay.data.formats.tools import function_names, texts_in
from sftplay.data.pairs import Cut, Turns, cut_rows
from sftplay.data.plans import Planner, planner_for
from sftplay.data.specials import may_spell_special, tally_specials
from sftplay.data.splice import Spliced, splicer_for
from sftplay.data.template import ChatTemplate, RefusedConversationError
from sftplay.errors import DataError

COMPARE_EVERY = (
    1000  # rows of a block; one put together from a plan is rendered in full as well, to see that both agree
)
_64_BITS = (1 << 64) - 1
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
_MERGED = Finding(
    "merged_systems", "note", "the system turn was merged into the first user turn (data.system_unsupported)"
)
_TOOLS_IGNORED = Finding(
    "tools_ignored",
    "warning",
    "the chat template does not print the tools of a row, so the model learns to call what it can't see",
    "give a template that does: data.chat_template",
)
_NO_SYSTEM = Finding(
    "system_turn",
    "fatal",
    "the chat template can't render a system turn",
    "data.system_unsupported: merge_into_user puts it in front of the first user turn",
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a row is rendered.

    Attributes:
        specials: the tokenizer's special tokens.
        keep_specials: whether text may spell one of them.
        system: what to do with a system turn: the template renders it, refuse the row, or merge it.
        unedited: whether the rows are known to be as sftplay wrote them.
    """

    template: ChatTemplate
    eot: str
    turns: Turns
    specials: tuple[str, ...]
    keep_specials: bool
    system: Literal["render", "error", "merge"]
    unedited: bool = False


@dataclass
class Rendered:
    """What came of a block: lines to write, lines set aside, counts, findings.

    Attributes:
        out: the lines, joined; sizes: their lengths.
        keys: of each line, a hash of its text without the id: equal rows have equal ones.
        ids: of each line, a hash of its id. numbers: the line in `file` where its row stands.
    """

    file: str
    size: int
    rows: int = 0
    read: int = 0
    turns: int = 0
    rejected: int = 0
    without_system: int = 0
    out: bytes = b""
    sizes: array[int] = field(default_factory=lambda: array("L"))
    keys: array[int] = field(default_factory=lambda: array("Q"))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("L"))
    rejects: bytes = b""
    tally: Tally = field(default_factory=Tally)

    def lines(self) -> list[bytes]:
        """The lines one by one."""
        ends = list(accumulate(self.sizes))
        return [self.out[end - size : end] for end, size in zip(ends, self.sizes, strict=True)]


class _Rows:
    """Lines of a block while it is rendered: ids as they stand between the quotes, what follows each, and where the row stood."""

    def __init__(self, result: Rendered) -> None:
        self.result = result
        self.ids: list[bytes] = []
        self.bodies: list[bytes] = []
        self.numbers: list[int] = []

    def add(self, row_id: bytes, body: bytes, number: int) -> None:
        """Add a line."""
        self.ids.append(row_id)
        self.bodies.append(body)
        self.numbers.append(number)

    def lines(self) -> list[bytes]:
        return [b'{"id":"%b",%b' % line for line in zip(self.ids, self.bodies, strict=True)]

    def done(self) -> Rendered:
        """The result with all lines in it. Their keys are this run's: Python's hash of bytes (SipHash, 64 bits) has one seed for
        a process and the workers forked from it.
        """
        result, lines = self.result, self.lines()
        result.out, result.sizes = b"".join(lines), array("L", map(len, lines))
        result.keys = array("Q", [hash(body) & _64_BITS for body in self.bodies])
        result.ids = array("Q", [hash(row_id) & _64_BITS for row_id in self.ids])
        result.numbers = array("L", self.numbers)
        return result


def render_block(recipe: Recipe, block: Block) -> Rendered:
    """Render every row of a block; rows that can't be are findings."""
    result = Rendered(block.file, len(block.lines))
    rows, rejects = _Rows(result), []
    planner = planner_for(recipe.template, recipe.eot, recipe.turns)
    splicer = splicer_for(planner) if recipe.unedited and recipe.turns != "unroll" else None  # that gives other ids
    may_spell = may_spell_special(recipe.specials, block.lines, unedited=recipe.unedited)
    if splicer and not may_spell and _splice_all(recipe, planner, block, rows):
        return rows.done()
    for number, line in enumerate(block.lines.split(b"\n"), block.first):
        if not line or line.isspace():
            continue
        result.read += 1
        compare = result.read % COMPARE_EVERY == 1
        spells = may_spell and may_spell_special(recipe.specials, line, unedited=recipe.unedited)
        spliced = splicer.splice(line) if splicer and not spells else None
        if spliced and not (spliced[2].has_system and recipe.system != "render"):
            row_id, body, splice = spliced
            result.rows += 1
            result.turns += splice.turns
            result.without_system += not splice.has_system
            rows.add(row_id, body, number)
            if compare:
                _compare(recipe, planner, line, spliced)
            continue
        place = f"{block.file}:{number}"
        try:
            row = _read_row(line)
            place += f" ({row['id']})"
            if spells and not tally_specials(
                recipe.specials, _with_tool_texts(row), place, result.tally, keep=recipe.keep_specials
            ):
                continue
            _render_row(recipe, planner, row, place, number, rows, compare=compare)
        except RefusedConversationError as error:
            result.rejected += 1
            result.tally.add(Finding("rejected", "reject", error.what), place)
            rejects.append(
                orjson.dumps({"file": block.file, "line": number, "reason": error.what, "row": orjson.Fragment(line)})
            )
        except DataError as error:
            result.tally.add(Finding("failed", "fatal", error.what, error.todo), place)
    result.rejects = b"".join(line + b"\n" for line in rejects)
    return rows.done()


def _splice_all(recipe: Recipe, planner: Planner, block: Block, rows: _Rows) -> bool:
    """Render a block at once, if all its rows are alike."""
    spliced = splicer_for(planner).splice_all(block.lines)
    if spliced is None or (spliced[2].has_system and recipe.system != "render"):
        return False
    rows.ids, rows.bodies, splice = spliced
    count = len(rows.ids)
    rows.numbers = list(range(block.first, block.first + count))
    result = rows.result
    result.rows = result.read = count
    result.turns = count * splice.turns
    result.without_system = 0 if splice.has_system else count
    _compare(recipe, planner, block.lines[: block.lines.index(b"\n")], (rows.ids[0], rows.bodies[0], splice))
    return True


def _compare(recipe: Recipe, planner: Planner, line: bytes, spliced: Spliced) -> None:
    """Render a row in full and see that the splice gave the same bytes."""
    full = _Rows(Rendered("", 0))
    _render_row(recipe, planner, _read_row(line), "", 1, full, compare=True)
    same = (full.ids, full.bodies) == ([spliced[0]], [spliced[1]])
    assert same, f"the splice of the chat template does not hold for {line.decode()}"


def _render_row(
    recipe: Recipe, planner: Planner, row: Mapping[str, Any], place: str, number: int, rows: _Rows, *, compare: bool
) -> None:
    messages, result = row["messages"], rows.result
    has_system = "system" in [message["role"] for message in messages]
    if has_system and recipe.system != "render":
        if recipe.system == "error":
            result.tally.add(_NO_SYSTEM, place)
            return
        messages = merge_system(messages)
        result.tally.add(_MERGED, place)
    cuts = _cuts(recipe, planner, row, messages, compare=compare)
    if "tools" in row or any("tool_calls" in message for message in messages):
        _check_tools(row, messages, cuts, place, result.tally)
    for part, cut in enumerate(cuts, 1):
        result.rows += 1
        result.turns += len(cut.pairs)
        result.without_system += not has_system
        if cut.rewritten:
            result.tally.add(_REWRITTEN, place, cut.rewritten)
        if cut.changed:
            result.tally.add(_CHANGED, place, cut.changed)
        _add_line(f"{row['id']}-{part}" if recipe.turns == "unroll" else row["id"], cut, number, rows)


def _cuts(
    recipe: Recipe, planner: Planner, row: Mapping[str, Any], messages: list[dict[str, Any]], *, compare: bool
) -> list[Cut]:
    tools = row.get("tools")
    planned = planner.cuts(messages) if tools is None else None
    if planned is not None and not compare:
        return planned
    cuts = list(cut_rows(recipe.template, recipe.eot, messages, recipe.turns, tools))
    assert planned is None or planned == cuts, f"row {row['id']}: the plan of the chat template does not hold"
    return cuts


def _check_tools(
    row: Mapping[str, Any], messages: list[dict[str, Any]], cuts: list[Cut], place: str, tally: Tally
) -> None:
    """Tally tools that the rendering lacks.

    Raises:
        RefusedConversationError: a target lacks a call, so an answer would be trained without it (65).
    """
    text = "".join("".join(part for pair in cut.pairs for part in pair) + cut.tail for cut in cuts)
    if any(name not in text for name in function_names(row.get("tools") or [])):
        tally.add(_TOOLS_IGNORED, place)
    targets = [target for cut in cuts for _, target in cut.pairs]
    answers = [each for each in messages if each["role"] == "assistant" and each.get("train") is not False]
    for message, target in zip(answers[-len(targets) :], targets, strict=True):  # data.turns: last has one target
        if any(name not in target for name in function_names(message.get("tool_calls") or [])):
            raise RefusedConversationError(
                "the chat template leaves out a tool call: take one that knows tools (data.chat_template)"
            )


def _with_tool_texts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages, and what else the template prints of the row, as one more."""
    messages: list[dict[str, Any]] = row["messages"]
    other = [row.get("tools"), *(message.get("tool_calls") for message in messages)]
    return [*messages, {"content": "\n".join(texts_in(other))}] if any(other) else messages


def _add_line(row_id: str, cut: Cut, number: int, rows: _Rows) -> None:
    row: dict[str, Any] = {}
    if len(cut.pairs) == 1:
        row["input"], row["target"] = cut.pairs[0]
    else:
        row["turns"] = [{"input": given, "target": target} for given, target in cut.pairs]
    if cut.tail:
        row["tail"] = cut.tail
    rows.add(orjson.dumps(row_id)[1:-1], orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)[1:], number)


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
        raise RefusedConversationError("a system turn that no user turn follows can't be merged into one")
    return merged


def _read_row(line: bytes) -> dict[str, Any]:
    """A processed row, checked: people edit these files.

    Raises:
        DataError: not JSON, or not a row (65).
    """
    todo = 'a row is {"messages": [{"role": …, "content": …}, …], "id": …}; `process` makes them'
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"not valid JSON (column {error.colno}: {error.msg})", todo=todo) from error
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("messages"), list):
        raise DataError("not a processed row: id or messages are missing", todo=todo)
    for message in row["messages"]:
        if not (
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str | None)
        ):
            raise DataError("not a processed row: a message wants a role and text as content", todo=todo)
    if not isinstance(row.get("tools"), list | None):
        raise DataError("not a processed row: `tools` wants a list", todo=todo)
    return row
