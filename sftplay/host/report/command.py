"""`inv report RUN` and `inv report --batch FILE`: one HTML file with everything a person wants to
see, or to show.
"""

from __future__ import annotations

from pathlib import Path

from sftplay import console
from sftplay.errors import UsageError
from sftplay.files import human_size, write_text
from sftplay.host.report import answers, parts
from sftplay.host.report.batch import of_batch
from sftplay.host.report.ranks import ranks_of_run
from sftplay.host.runs.newest import running_or_newest
from sftplay.host.runs.view import RunView, require_run
from sftplay.page import html
from sftplay.places import output_file


def write(run: str | None, *, batch: str | None = None, output: str | None = None) -> None:
    """Write the report and say where.

    Args:
        run: name of a run; batch: a batch file. Without both: the run that trains now, else the newest.
        output: the file; default: report.html in the folder of the run or batch.

    Raises:
        UsageError: both of them (2). NotFoundError: no such run, or the batch was never run,
            or no such folder for the file (66).
    """
    if run is not None and batch is not None:
        raise UsageError(
            "a report is of one run or of one batch",
            todo="inv report RUN, or inv report --batch FILE",
        )
    given = output_file(output) if output else None
    if batch is None:
        view = require_run(run) if run is not None else running_or_newest()
        path, text = view.run.folder / "report.html", of_run(view)
        for problem in view.problems:
            console.warning(problem)
    else:
        path, text = of_batch(Path(batch))
    path = given or path
    write_text(path, text)
    console.success(f"{path} ({human_size(path.stat().st_size)}): one file, open it in a browser")


def of_run(view: RunView) -> str:
    """The page of one run, whatever is left of it."""
    return html.page(
        f"Run {view.name}",
        *parts.notices(view),
        parts.figures(view),
        html.section("Training", parts.training_curves(view)),
        *ranks_of_run(view),
        *answers.sample_answers(view),
        html.section("Evaluation", *parts.evaluation(view)),
        html.section("Answers before and after", *answers.answers_side_by_side(view)),
        html.section("Data", *parts.data_page(view)),
        html.section("What trained it", *parts.provenance(view)),
        lead=parts.lead(view),
        footer=parts.made_by(),
    )
