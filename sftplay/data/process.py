"""process: data/raw in any known format → data/processed/{train,val,test}.jsonl, rejects.jsonl and
report.json.

Pieces of the raw files are converted (by several processes where that pays), then taken in order:
duplicates out, rows written. Nothing grows with the input but at most 16 bytes a row, by which
duplicates are known, and with `data.mix` about 40 more.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from sftplay import console
from sftplay.data import output
from sftplay.data.conversion.convert import convert
from sftplay.data.conversion.mix import Mix
from sftplay.data.conversion.raw_files import SplitPlan, in_order, plan_splits, work
from sftplay.data.conversion.refusal import refuse_unusable, refuse_warnings
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
        "data.mix",
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
        files = find(settings.data.sources, apart=bool(settings.data.mix)).files
    except (NotFoundError, DataError):
        wanted = section_of(settings, "data.raw", "data.mix")
        if any(stamp.section.get(key) != value for key, value in wanted.items()):
            raise  # other rows are asked for now
        names = ", ".join(settings.data.sources)
        console.warning(f"data.raw ({names}) has no files any more: {folder} stays as it is")
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
    found = find(settings.sources, apart=bool(settings.mix))
    mix = Mix({name: settings.mix[name] for name in settings.sources}) if settings.mix else None
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
            files, settings, splits, worker_count(settings.workers, size), tmp, bar, sample, mix
        )
        _refuse_changed(found.files, sources)
        refuse_unusable(counts, settings, tmp, folder, REJECTS)
        if mix and sample:
            _thin(mix, counts, tmp, sample)
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
        if mix and not sample:
            for split in SPLITS:
                mix.forget(split, alike.dropped_from(split))
            _thin(mix, counts, tmp)
        if settings.val_share and "val" not in splits.kept:
            counts.splits = fill_val(tmp, counts.splits, alike.grouped)
        alike.name_lines(tmp, str(folder), counts.findings)
        if mix:
            mix.count(tmp)
            counts.add_mix(mix)
        _note_empty(counts, settings)
        if job.options.get("strict"):
            refuse_warnings(counts, tmp, folder, REJECTS)
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
    mix: Mix | None,
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
                if mix is not None:
                    mix.add(split, rows, files[done.file].source)
                elif sample is not None:
                    sample.add(PRECEDENCE.index(split), rows.keys, rows.sizes)
            rejects.writelines(bad.to_json(files[done.file].name) for bad in done.rejects)
            counts.add(done, kept)
            bar.advance(done.used)
    return counts


def _thin(mix: Mix, counts: ProcessCounts, tmp: Path, sample: Sample | None = None) -> None:
    """Leave out what the shares of the mix have no place for.

    Args:
        sample: for near duplicates; it has not seen a row yet.
    """
    for left in mix.thin(tmp):
        counts.add_left_out(left)
        if sample is not None:
            sample.add(PRECEDENCE.index(left.split), *mix.rows_in(left.split))


def _refuse_changed(files: tuple[RawFile, ...], sources: output.Marks) -> None:
    for file in files:
        stat, mark = file.path.stat(), sources[file.name]
        if (stat.st_size, stat.st_mtime_ns) != (mark["size"], mark["mtime_ns"]):
            raise DataError(
                "the file changed while it was read", where=file.name, todo="run it again"
            )


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
