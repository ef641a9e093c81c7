"""Lines for the screen about what `process` did."""

from __future__ import annotations

from sftplay import console
from sftplay.console import count_of, share_text
from sftplay.data.conversion.mix import Mix
from sftplay.data.conversion.report import DUPLICATE, ProcessCounts
from sftplay.data.formats.unused_keys import KIND as UNUSED_KEYS
from sftplay.data.near_duplicates.count import NearDuplicateCount
from sftplay.data.near_duplicates.sample import SAMPLE
from sftplay.places import SPLITS
from sftplay.settings import DataSettings

SHOWN_FILES = 8


def say(counts: ProcessCounts, folder: str, settings: DataSettings) -> None:
    """Print the summary."""
    say_rows(counts, settings)
    if counts.rejected:
        console.info(f"they are in {folder}/rejects.jsonl")
    if counts.mix:
        say_mix(counts.mix, counts.left_out)
    say_findings(counts)
    shown = ", ".join(f"{split} {count:,}" for split, count in counts.splits.items())
    console.success(f"{count_of(counts.rows_out)} in {folder}: {shown}")


def say_rows(counts: ProcessCounts, settings: DataSettings) -> None:
    """Print what each file is, and which rows were left out."""
    for file in counts.files[:SHOWN_FILES]:
        split = f" for {file.split}" if file.split else ""
        notes = "".join(f"; {note}" for note in file.notes)
        shown = f"{count_of(file.rows)}{split}, {file.format} ({file.evidence}{notes})"
        console.info(f"{file.file}: {shown}")
    if len(counts.files) > SHOWN_FILES:
        console.info(f"… and {len(counts.files) - SHOWN_FILES} more files, in report.json")
    if counts.reasoning:
        reasoning = settings.reasoning
        done = (
            "taken out"
            if reasoning == "strip"
            else "kept, and trained where the chat template prints it"
        )
        console.info(
            f"reasoning (<think>) in {count_of(counts.reasoning)}: {done} (data.reasoning: {reasoning})"
        )
    if counts.duplicates:
        console.warning(f"{count_of(counts.duplicates, 'exact duplicate')} removed")
    _report_near_duplicates(counts.alike)
    if counts.rejected:
        console.warning(
            f"{count_of(counts.rejected)} of {counts.rows_in:,} set aside: {counts.reasons_text()}"
        )
        for line in counts.first_rejects:
            console.warning(line)


def say_mix(mix: Mix, left_out: int) -> None:
    """Print rows and shares of each source, asked and real."""
    found = mix.to_json()
    for one in found["sources"]:
        real = " and ".join(
            f"{share_text(share)} of {split}"
            for split, share in one["shares"].items()
            if share is not None
        )
        console.info(
            f"mix: {one['source']}: {sum(one['rows'].values()):,} of {count_of(one['usable'])}, "
            f"{real} (asked: {share_text(one['asked'])})"
        )
    if left_out:
        ended = "; ".join(
            f"of {split} that is {', '.join(names)}"
            for split in SPLITS
            if (names := mix.exhausted(split))
        )
        console.info(
            f"mix: {count_of(left_out)} left out: each split is filled until one source has no more"
            f" rows (first_exhausted); {ended}"
        )


def say_findings(counts: ProcessCounts) -> None:
    """Print what was found in the rows."""
    unread = [finding for finding in counts.findings.of("note") if finding.kind == UNUSED_KEYS]
    if unread:
        known = [finding.what.partition(" ")[0] for finding in unread if "`" in finding.what]
        more = " and more" if len(unread) > 8 else ""
        names = ", ".join(known[:8])
        console.info(f"not used: {names}{more} (counts and examples are in report.json)")
    for finding in (*counts.findings.of("warning"), *counts.findings.of("note")):
        if finding.kind != DUPLICATE.kind and finding not in unread:
            counts.findings.say_one(finding)


def _report_near_duplicates(alike: NearDuplicateCount | None) -> None:
    """Print how many near duplicates there are; the findings name them."""
    if alike is None or not alike.found.pairs:
        return
    sample = (
        f" among {alike.found.looked_at:,} rows looked at (a sample: {SAMPLE:,} at most)"
        if alike.is_sample
        else ""
    )
    moved = (
        f"; {count_of(len(alike.moved))} moved, so that groups are in one split"
        if alike.moved
        else ""
    )
    console.info(
        f"{count_of(len(alike.found.pairs), 'near duplicate')}{sample}, {alike.across:,} of them across splits{moved}"
    )
