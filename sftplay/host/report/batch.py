"""The report of a batch: its table, the curves of all experiments, what differs, and each run's
figures. One file.
"""

from __future__ import annotations

from pathlib import Path

from sftplay.errors import NotFoundError
from sftplay.host.batch import work
from sftplay.host.batch.expand import expand
from sftplay.host.batch.file import read
from sftplay.host.batch.summary import (
    SummaryRow,
    how_sorted,
    in_words,
    rows_of,
    screen_table,
    varied_keys,
)
from sftplay.host.report import answers, parts
from sftplay.host.runs import compare
from sftplay.page import html
from sftplay.page.charts import bars

_CURVES = 6  # runs in one picture: as many as there are colours
_DETAILED = 30


def of_batch(file: Path) -> tuple[Path, str]:
    """Return the page's file, and the page.

    Raises:
        NotFoundError: no such file, or none of its experiments was ever begun (66). ConfigError:
            the file is wrong (78).
    """
    if not file.is_file():
        raise NotFoundError(
            "no such batch file", where=str(file), todo="inv batch writes one to begin with"
        )
    parsed = read(file)
    folder = work.folder_of(file)
    rows = rows_of(parsed, expand(parsed, file), work.states(folder))
    begun = [row for row in rows if row.view.run.folder.is_dir()]
    if not begun:
        raise NotFoundError(
            "none of its experiments has started", where=str(file), todo=f"inv batch --file {file}"
        )
    columns, cells, _ = screen_table(rows)
    page = html.page(
        f"Batch {file.stem}",
        html.section("Result", html.table(columns, cells, caption=how_sorted(parsed.sort_by)), _ranking(parsed.sort_by, rows)),
        html.section("Curves", *_curves(begun)),
        html.section("What differs", *_differences(begun)),
        html.section("Each run", *(_one(row) for row in begun[:_DETAILED]), *_more(begun)),
        lead=f"{len(rows)} experiments on {len(parsed.datasets)} datasets; base → tuned in cells with two values.",
        footer=parts.made_by(),
    )  # fmt: skip
    return folder / "report.html", page


def _ranking(metric: str, rows: list[SummaryRow]) -> html.Markup:
    values = [
        (row.experiment.name, value) for row in rows if (value := row.value(metric)) is not None
    ]
    return (
        bars(f"{in_words(metric)} after training", values)
        if values and metric != "name"
        else html.Markup("")
    )


def _curves(begun: list[SummaryRow]) -> list[html.Markup]:
    found = [compare.pictures([row.view for row in begun[:_CURVES]])]
    if len(begun) > _CURVES:
        found.append(
            html.paragraph(
                f"The first {_CURVES} of the table; inv runs.compare draws others.", soft=True
            )
        )
    return found


def _differences(begun: list[SummaryRow]) -> list[html.Markup]:
    unlike = compare.differences([row.view for row in begun])
    if not unlike:
        return [html.paragraph("Nothing: the same config, the same stamp.")]
    varied = set(varied_keys(begun))
    unlike.sort(key=lambda row: row[0] not in varied)
    return [html.table(["key", *(row.experiment.name for row in begun)], unlike, wraps=True)]


def _one(row: SummaryRow) -> html.Markup:
    view = row.view
    inside = [
        *parts.notices(view),
        parts.figures(view),
        parts.training_curves(view),
        *parts.evaluation(view),
    ]
    return html.details(
        row.experiment.name,
        html.paragraph(parts.lead(view)),
        *inside,
        *answers.answers_side_by_side(view),
    )


def _more(begun: list[SummaryRow]) -> list[html.Markup]:
    if len(begun) <= _DETAILED:
        return []
    return [html.paragraph(f"{len(begun) - _DETAILED} more: inv report RUN.", soft=True)]
