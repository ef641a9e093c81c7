"""process: data/raw in any known format → data/processed/{train,val,test}.jsonl, rejects.jsonl and
report.json.

Pieces of the raw files are converted (by several processes where that pays), then taken in order:
duplicates out, rows written. Nothing grows with the input but at most 16 bytes a row, by which
duplicates are known.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path

from sftplay import console
from sftplay.console import count_of
from sftplay.data import output
from sftplay.data.conversion.convert import convert
from sftplay.data.conversion.raw_files import SplitPlan, in_order, plan_splits, work
from sftplay.data.conversion.report import ProcessCounts
from sftplay.data.conversion.summary import say
from sftplay.data.findings import Finding
from sftplay.data.near_duplicates.count import PRECEDENCE, near_duplicates
from sftplay.data.near_duplicates.sample import Sample
from sftplay.data.parallel import ordered_map, worker_count
from sftplay.data.progress import ProgressBar, progress
from sftplay.data.readers.sources import RawFile, find
from sftplay.data.report_page import write_page
from sftplay.data.split import SeenRows
from sftplay.data.val_floor import fill_val
from sftplay.errors import DataError, NotFoundError
from sftplay.files import write_json
from sftplay.freshness import DataStamp, read_stamp, section_of, why_stale
from sftplay.kept_values import given_values, refreshed
from sftplay.places import SPLITS, data_folder
from sftplay.settings import DataSettings
from sftplay.stages import Job

REJECTS, REPORT = "rejects.jsonl", "report.json"
ROW_FILES = tuple(f"{split}.jsonl" for split in SPLITS)
SECTION = (
    *(
        "data.raw",
        "data.format",
        "data.fields",
        "data.reasoning",
        "data.odd_turns",
        "data.near_duplicates",
    ),
    *("data.splits", "data.val_share", "data.test_share", "data.max_reject_share"),
)
# input and output are hashed, a byte in about an eighth of the time that its conversion takes
# (progress)
_HASHING = 8


def freshness(job: Job) -> str | None:
    """Explain why data/processed has to be made again; None where it is current.

    SplitRows whose raw files are gone are current: there is nothing to make them from again.
    """
    folder = data_folder("processed", job.settings)
    stamp = read_stamp(folder)
    settings = refreshed(job, "process", stamp).settings
    if stamp is None:
        return "not made yet"
    try:
        files = find(settings.data.raw).files
    except (NotFoundError, DataError):
        if stamp.section.get("data.raw") != section_of(settings, "data.raw")["data.raw"]:
            raise  # other rows are asked for now
        console.warning(
            f"data.raw ({settings.data.raw}) has no files any more: {folder} stays as it is"
        )
        return None
    known = stamp.facts.get("sources", {})
    source = output.hash_of(
        {file.name: output.remembered(file.path, known.get(file.name)) for file in files}
    )
    return output.lost_file(folder, stamp) or why_stale(
        stamp, "process", source, section_of(settings, *SECTION)
    )


def run(job: Job) -> None:
    """Make data/processed.

    Raises:
        DataError: unreadable or unknown files, too many bad rows, nothing to train on (65); the old
            rows stay.
        NotFoundError: data.raw names nothing (66). StorageError: disk full (74).
    """
    settings = job.settings.data
    folder = data_folder("processed", job.settings)
    found = find(settings.raw)
    for skipped in found.skipped:
        tell = console.info if skipped.is_description else console.warning
        tell(f"{skipped}: left out")
    splits = plan_splits(found, settings)
    files = in_order(found.files, splits)
    size = sum(file.path.stat().st_size for file in found.files)
    with (
        output.new_files(folder, "process") as tmp,
        progress(size + 3 * size // _HASHING, "B", "process") as bar,
    ):

        def hashed(amount: int) -> None:
            bar.advance(amount // _HASHING)

        sources = {file.name: output.mark(file.path, hashed) for file in found.files}
        sample = (
            None if settings.near_duplicates == "drop" else Sample(len(PRECEDENCE))
        )  # else every row is looked at
        counts = _write_rows(
            files, settings, splits, worker_count(settings.workers, size), tmp, bar, sample
        )
        _refuse_changed(found.files, sources)
        _refuse_unusable(counts, settings, tmp, folder)
        alike = near_duplicates(
            tmp,
            counts.splits,
            settings,
            counts.findings,
            hashed,
            sample,
            None if splits.kept else splits.borders(""),
        )
        counts.add_alike(alike)
        if settings.val_share and "val" not in splits.kept:
            counts.splits = fill_val(
                tmp, counts.splits, alike.grouped_in("train"), alike.moved_to("train")
            )
        alike.name_lines(tmp, str(folder), counts.findings)
        _note_empty(counts, settings)
        if job.options.get("strict"):
            _refuse_warnings(counts, tmp, folder)
        write_json(tmp / REPORT, counts.to_json(found.skipped, settings))
        _stamp(job, counts, sources, output.marks(tmp, ROW_FILES, hashed)).write(tmp)
    say(counts, str(folder), settings)
    write_page(job)


def _write_rows(
    files: tuple[RawFile, ...],
    settings: DataSettings,
    splits: SplitPlan,
    workers: int,
    tmp: Path,
    bar: ProgressBar,
    sample: Sample | None,
) -> ProcessCounts:
    counts, seen = ProcessCounts(), SeenRows()
    with ExitStack() as stack:
        outs = [stack.enter_context(open(tmp / name, "wb")) for name in ROW_FILES]
        rejects = stack.enter_context(open(tmp / REJECTS, "wb"))
        pieces = ordered_map(convert, work(files, settings, splits, counts.files), workers)
        for done in stack.enter_context(closing(pieces)):
            kept = []
            for rows in done.splits:
                again = seen.duplicates(rows.keys)
                counts.add_duplicates(f"{rows.keys[place]:016x}" for place in again)
                kept.append(rows.without(again))
            for split, out, rows in zip(SPLITS, outs, kept, strict=True):
                out.write(rows.lines)
                if sample is not None:
                    sample.add(PRECEDENCE.index(split), rows.keys, rows.sizes)
            rejects.writelines(bad.to_json(files[done.file].name) for bad in done.rejects)
            counts.add(done, kept)
            bar.advance(done.used)
    return counts


def _refuse_changed(files: tuple[RawFile, ...], sources: output.Marks) -> None:
    for file in files:
        stat, mark = file.path.stat(), sources[file.name]
        if (stat.st_size, stat.st_mtime_ns) != (mark["size"], mark["mtime_ns"]):
            raise DataError(
                "the file changed while it was read", where=file.name, todo="run it again"
            )


def _refuse_unusable(
    counts: ProcessCounts, settings: DataSettings, tmp: Path, folder: Path
) -> None:
    """Raise DataError where the rows can't be used.

    The rejects are put in place even so: they say why.
    """
    if not counts.rows_in:
        raise DataError("no rows in any file", where=str(settings.raw), todo="put your rows there")
    share = counts.rejected / counts.rows_in
    if share > settings.max_reject_share:
        os.replace(tmp / REJECTS, folder / REJECTS)
        listing = "\n".join(f"  {line}" for line in counts.first_rejects)
        above = _share_above(share)
        leave = f", or leave them out: --set data.max_reject_share={above}" if share < 1 else ""
        fix = "\nor have the turns fixed: --set data.odd_turns=fix" if counts.out_of_order else ""
        raise DataError(
            f"{count_of(counts.rejected)} of {counts.rows_in:,} can't be used ({counts.reasons_text()}); "
            f"data.max_reject_share allows {settings.max_reject_share:.3g}\n{listing}",
            where=counts.first_place,
            todo=f"look at them in {folder / REJECTS}, then fix them{leave}{fix}",
        )
    if not counts.splits["train"]:
        todo = "add rows, or put fewer aside: --set data.val_share=0 --set data.test_share=0"
        raise DataError(
            f"none of {count_of(counts.rows_out)} is in the train split",
            where=str(settings.raw),
            todo=todo,
        )


def _refuse_warnings(counts: ProcessCounts, tmp: Path, folder: Path) -> None:
    """Apply --strict. The rejects are put in place even so: they say why."""
    try:
        counts.findings.refuse_warnings()
    except DataError:
        if counts.rejected:
            os.replace(tmp / REJECTS, folder / REJECTS)
        raise


def _share_above(share: float) -> float:
    return min(1.0, int(share * 100 + 1) / 100)


def _stamp(
    job: Job, counts: ProcessCounts, sources: output.Marks, files: output.Marks
) -> DataStamp:
    section = section_of(job.settings, *SECTION)
    return DataStamp(
        stage="process",
        source=output.hash_of(sources),
        section=section,
        **given_values(job, SECTION),
        output=output.hash_of(files),
        facts={"files": files, "sources": sources, "rows": counts.splits},
    )


def _note_empty(counts: ProcessCounts, settings: DataSettings) -> None:
    for split, share in (("val", settings.val_share), ("test", settings.test_share)):
        if share and not counts.splits[split]:
            what = f"the {split} split is empty, so nothing can be evaluated on it"
            counts.findings.add(
                Finding(
                    "empty_split", "warning", what, f"add rows, or set a larger data.{split}_share"
                ),
                count=0,
            )
