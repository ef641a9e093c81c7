"""Stage `preview`: the first rows of raw files as they would be read and trained, what was found in
them, and the settings that were guessed.

The stages' own functions run on a few rows in memory. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from itertools import islice

import numpy as np
import orjson

from sftplay import console
from sftplay.console import count_of
from sftplay.data.blocks import Block
from sftplay.data.conversion.convert import convert
from sftplay.data.conversion.raw_files import SplitPlan, plan_splits, work
from sftplay.data.conversion.report import FileReport, ProcessCounts
from sftplay.data.conversion.summary import say_findings, say_rows
from sftplay.data.findings import Findings
from sftplay.data.guessed_settings import guessed_settings
from sftplay.data.readers.sources import RawFile, find
from sftplay.data.render import render_settings
from sftplay.data.rendering.additions import count_additions
from sftplay.data.rendering.advice import traits_with_advice
from sftplay.data.rendering.rows import render_block
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.row_view import Paint, TokenizedRow, painter, pieces
from sftplay.data.split import SeenRows
from sftplay.data.styling.prompt import style_of
from sftplay.data.styling.rows import styled_block
from sftplay.data.tokenize import row_tokenizer
from sftplay.data.tokenizing.artifact import TokenBatch
from sftplay.data.tokenizing.length_limit import LengthLimit
from sftplay.data.tokenizing.report import count_lengths
from sftplay.data.tokenizing.tokenizer import read_tokenizer
from sftplay.errors import NotFoundError, UsageError
from sftplay.places import find_model
from sftplay.settings import DataSettings, Settings
from sftplay.stages import Job
from sftplay.terminal_text import harmless

ROWS = 2000  # looked at, of all files together
FILES = 20


@dataclass(frozen=True)
class RawSample:
    """The first rows of some files, converted: lines by the number of their source, in order."""

    lines: dict[int, bytes]
    counts: ProcessCounts


@dataclass(frozen=True)
class ShownRows:
    """Lines of one source, the number of the first one among all, and the name that is shown: empty
    where there is one source only.
    """

    name: str
    first: int
    lines: bytes

    @property
    def block(self) -> Block:
        return Block("row", self.first, self.lines)

    def title(self, number: int) -> str:
        """Return `── row 1 of chat.jsonl`."""
        return f"── row {number}" + (f" of {harmless(self.name)}" if self.name else "")


def run(job: Job) -> None:
    """Print the first rows of each source, findings and guessed settings.

    Raises:
        DataError: files that `process` would not read, a template that can't be used (65).
        NotFoundError: data.raw names nothing (66).
    """
    settings, count = job.settings, job.options["count"]
    if count < 1:
        raise UsageError(f"--count requires at least 1, got {count}")
    found = find(settings.data.sources, apart=bool(settings.data.mix))
    for skipped in found.skipped:
        console.info(f"{skipped}: would be left out")
    splits = plan_splits(found, settings.data)
    sample = read_sample(found.files, settings.data)
    say_rows(sample.counts, settings.data)
    say_findings(sample.counts)
    _warn_of_refusal(sample.counts, settings.data)
    chosen = style_of(job)
    sources = list(_sources(sample, settings.data.sources))
    if chosen:
        sources = [replace(one, lines=styled_block(one.block, chosen)[1]) for one in sources]
    longest = _show_rows(settings, sources, count)
    console.info("the settings that were guessed, to copy into a config:")
    console.result(guessed_settings(settings, sample.counts, splits, longest))
    console.info("nothing was written; inv process reads every row")


def read_sample(files: tuple[RawFile, ...], settings: DataSettings) -> RawSample:
    """Read and convert the first rows of each file, in their order, no matter which split they
    would be in.
    """
    counts, seen = ProcessCounts(), SeenRows()
    lines: dict[int, bytes] = {}
    unsplit = SplitPlan(settings.model_copy(update={"val_share": 0.0, "test_share": 0.0}))
    share = max(ROWS // min(len(files), FILES), 1)
    for file in _some_of_each_source(files):
        first, before = len(counts.files), counts.rows_in
        reports: list[FileReport] = []
        for task in work((file,), settings, unsplit, reports):
            counts.files[first:] = reports
            done = convert(task)
            rows = done.splits[0]
            again = seen.duplicates(rows.keys)
            counts.add_duplicates(f"{rows.keys[place]:016x}" for place in again)
            kept = rows.without(again)
            counts.add(done.of_file(first), (kept, *done.splits[1:]))
            shown = b"".join(islice(BytesIO(kept.lines), share))
            lines[file.source] = lines.get(file.source, b"") + shown
            if counts.rows_in - before >= share:
                break
        counts.files[first:] = reports
    if len(files) > FILES:
        console.info(f"{count_of(len(files) - FILES, 'more file')} not looked at")
    return RawSample(lines, counts)


def _some_of_each_source(files: tuple[RawFile, ...]) -> list[RawFile]:
    """Return FILES of the files, in their order: the first of each source, then the second ones …"""
    places: Counter[int] = Counter()
    turns = {}
    for number, file in enumerate(files):
        turns[number] = places[file.source]
        places[file.source] += 1
    chosen = sorted(turns, key=lambda number: (turns[number], number))[:FILES]
    return [files[number] for number in sorted(chosen)]


def _sources(sample: RawSample, names: list[str]) -> Iterator[ShownRows]:
    first = 1
    for source, lines in sorted(sample.lines.items()):
        if lines:
            yield ShownRows(names[source] if len(names) > 1 else "", first, lines)
        first += lines.count(b"\n")


def _warn_of_refusal(counts: ProcessCounts, settings: DataSettings) -> None:
    if counts.rejected > settings.max_reject_share * counts.rows_in:
        console.warning(
            f"process would fail (65): {count_of(counts.rejected)} of {counts.rows_in:,} can't be "
            f"used, and data.max_reject_share allows {settings.max_reject_share:.3g}"
        )


def _show_rows(settings: Settings, sources: list[ShownRows], count: int) -> int:
    """Print rows of each source as the model would see them; return the length of the longest one
    looked at, 0 where the model is not there.
    """
    try:
        folder = find_model(settings)
    except NotFoundError as error:
        console.warning(f"{error.what}: rows are shown without its chat template ({error.todo})")
        for source in sources:
            for number, line in enumerate(islice(BytesIO(source.lines), count), 1):
                _show_messages(source.title(number), line, painter(()))
        return 0
    tokenizer = read_tokenizer(folder)
    template = choose_template(settings.data, tokenizer)
    if template.uses_date:
        today = datetime.now().date().isoformat()
        template = ChatTemplate(template.source, template.named, today)
    traits = traits_with_advice(template, tokenizer, settings.data.eot)
    recipe = render_settings(settings, template, traits, tokenizer)
    encoder = row_tokenizer(tokenizer, traits.eot_id)
    findings, without_system, longest = Findings(), 0, 0
    lengths = LengthLimit(settings.model.max_length, settings.data.on_too_long)
    paint = painter(tuple(tokenizer.special))
    for source in sources:
        rendered = render_block(recipe, source.block)
        tokenized = encoder.read(Block("row", source.first, rendered.out))
        findings.merge(rendered.findings)
        findings.merge(tokenized.findings)
        without_system += rendered.without_system
        lengths.apply(tokenized.batch)
        longest = max(longest, int(tokenized.batch.lengths.max(initial=0)))
        for number, row in enumerate(islice(_rows(tokenized.batch), count), 1):
            console.result(f"{source.title(number)}, {row.counts()}")
            console.result("".join(paint(*piece) for piece in pieces(row, encoder.backend)) + "\n")
    count_additions(template, traits, without_system, findings)
    count_lengths(lengths, findings)
    console.info(f"end of turn: {traits.eot.value!r} ({traits.eot.reason})")
    _say_refusals(findings)
    findings.say()
    return longest


def _say_refusals(findings: Findings) -> None:
    for finding in (*findings.of("fatal"), *findings.of("reject")):
        console.warning(f"render would refuse: {findings.line(finding)}")
        if finding.todo:
            console.info(f"next: {finding.todo}")


def _rows(batch: TokenBatch) -> Iterator[TokenizedRow]:
    ends = np.cumsum(batch.lengths)
    for row_id, start, end in zip(batch.ids, ends - batch.lengths, ends, strict=True):
        yield TokenizedRow(row_id, batch.tokens[start:end], batch.labels[start:end])


def _show_messages(title: str, line: bytes, paint: Paint) -> None:
    """Print a row without a chat template."""
    row = orjson.loads(line)
    console.result(f"{title}, id {harmless(row['id'])}")
    for message in row["messages"]:
        trained = message["role"] == "assistant" and message.get("train", True)
        console.result(f"{message['role']}: " + paint(message["content"], trained))
    console.result("")
