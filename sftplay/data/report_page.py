"""data/processed/report.html: what process, render and tokenize found, on one page that needs
nothing but itself.

Each stage leaves a report.json in its own folder and then writes the page again from all that are
there and belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data.report_sections import Report, figures, files, findings, lengths, rows, template
from sftplay.errors import PermissionDeniedError, SftplayError
from sftplay.files import write_text
from sftplay.freshness import DataStamp, read_stamp
from sftplay.page import html
from sftplay.places import DATA_FOLDERS, data_folder
from sftplay.stages import Job
from sftplay.untrusted import read_json

PAGE = "report.html"


def write_page(job: Job) -> None:
    """Write the page of a dataset; where data/processed can't be written, the work continues without
    it. The stage that makes the page prints where it is; those that add to it do not.
    """
    folder = data_folder("processed", job.settings)
    if read_stamp(folder) is None:
        return  # rows made by hand: nobody counted them
    is_new = not (folder / PAGE).is_file()
    try:
        write_text(folder / PAGE, page_of(folder, reports_of(job)))
    except PermissionDeniedError:
        console.info(
            f"{folder / PAGE} can't be written; the numbers are in report.json of each folder"
        )
        return
    if is_new:
        console.info(f"the whole report: {folder / PAGE}")


def reports_of(job: Job) -> dict[str, Report]:
    """Stage → its report, for the stages whose output is there and was made of what lies before it."""
    found: dict[str, Report] = {}
    stamps = {kind: _stamp(data_folder(kind, job.settings)) for kind in DATA_FOLDERS}
    for stage, kind in (
        ("process", "processed"),
        ("render", "rendered"),
        ("tokenize", "tokenized"),
    ):
        path = data_folder(kind, job.settings) / "report.json"
        if stamps[kind] is None or not path.is_file():
            break
        found[stage] = {**read_json(path), "facts": stamps[kind].facts}
        if kind != "processed" and _is_older(stamps, kind):
            del found[stage]
            break
    return found


def _stamp(folder: Path) -> Any:
    try:
        return read_stamp(folder)
    except SftplayError:
        return None


def _is_older(stamps: Mapping[str, DataStamp], kind: str) -> bool:
    """Tell whether the output was made of other rows than those that are there now."""
    if kind == "tokenized":
        return bool(stamps["tokenized"].facts.get("rendered") != stamps["rendered"].output)
    source = stamps["rendered"].source
    styled = stamps["processed_with_style"]
    through_style = (
        styled is not None
        and styled.output == source
        and styled.source == stamps["processed"].output
    )
    return source != stamps["processed"].output and not through_style


def page_of(folder: Path, reports: Mapping[str, Report]) -> str:
    """Return the page as HTML."""
    done, rendered, tokenized = (reports.get(stage) for stage in ("process", "render", "tokenize"))
    assert done is not None
    parts = [
        html.tiles(figures(done, tokenized)),
        html.section("Findings", *findings(reports)),
        html.section("Rows", *rows(done, rendered, tokenized)),
        html.section("Lengths", *lengths(done, tokenized)),
    ]
    if rendered is not None:
        parts.append(html.section("Chat template", template(rendered)))
    parts.append(html.section("Files", *files(done)))
    missing = [stage for stage in ("render", "tokenize") if stage not in reports]
    lead = (
        f"Not done yet, or done with other rows: {' and '.join(missing)}. Their part is added when they run."
        if missing
        else ""
    )
    return html.page(f"Data: {folder}", *parts, lead=lead)
