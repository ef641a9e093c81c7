"""The table at a batch's end: on the screen, as summary.csv and as summary.md."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.files import write_text
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.file import BatchFile
from sftplay.host.runs.measured import number_in
from sftplay.host.runs.table import before_after, decimals
from sftplay.host.runs.view import RunView, read_run
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.tables import print_table
from sftplay.runs import Run
from sftplay.significance import FEWEST_ROWS, METRIC_TITLES

METRICS = ("loss", "perplexity", "exact_match", "token_f1", "rouge_l", "chrf", "ended")
_PARTS = ("base", "tuned", "difference_low", "difference_high")  # the last two: 95 % interval


@dataclass(frozen=True)
class SummaryRow:
    """An experiment with what it came to."""

    experiment: Experiment
    view: RunView
    said: str

    def value(self, name: str) -> float | None:
        """A metric of the tuned model, or a loss of the training."""
        if name == "val_loss":
            return self.view.val_loss
        if name == "train_loss":
            return self.view.loss
        found = self.view.metric(name)
        return found.tuned if found else None

    def standing(self, name: str) -> float:
        """Return what it is ranked by, smallest first: the gain over the base for a metric of the
        evaluation, else the loss itself; infinite where it was not measured.
        """
        if name in ("val_loss", "train_loss"):
            value = self.value(name)
            return math.inf if value is None else value
        found = self.view.metric(name)
        return -found.gain if found else math.inf

    @property
    def rows(self) -> int:
        """Rows that it was evaluated on."""
        found = self.view.metric("loss")
        return found.rows if found else 0


def rows_of(
    parsed: BatchFile, experiments: Sequence[Experiment], said: Mapping[str, str]
) -> list[SummaryRow]:
    """Dataset by dataset, the best first: figures on different rows do not compare.

    Experiments without a figure come last in their dataset, by name.
    """
    rows = [SummaryRow(one, read_run(Run(one.name)), said.get(one.name, "")) for one in experiments]
    datasets = list(parsed.datasets)

    def place(row: SummaryRow) -> tuple[int, float, str]:
        standing = 0.0 if parsed.sort_by == "name" else row.standing(parsed.sort_by)
        return datasets.index(row.experiment.dataset), standing, row.experiment.name

    return sorted(rows, key=place)


def in_words(metric: str) -> str:
    """A metric's name for people, without its unit."""
    return METRIC_TITLES.get(metric, metric).partition(" (")[0]


def how_sorted(sort_by: str) -> str:
    """Return in words how the table is sorted and what its marks mean."""
    key = (
        "by name"
        if sort_by == "name"
        else f"by {sort_by.replace('_', ' ')}"
        if sort_by in ("val_loss", "train_loss")
        else f"by the gain in {in_words(sort_by)} over the base"
    )
    return (
        f"sorted {key} within each dataset; n: rows of the evaluation; within noise: the 95 % interval "
        f"of the difference from the base holds 0; too few rows: n is below {FEWEST_ROWS}"
    )


def show(
    folder: Path, parsed: BatchFile, experiments: Sequence[Experiment], said: Mapping[str, str]
) -> None:
    """Print the table, and write summary.csv and summary.md."""
    rows = rows_of(parsed, experiments, said)
    columns, cells, numbers = screen_table(rows)
    varied = columns[2 : columns.index("state")]
    print_table(
        columns,
        cells,
        numbers,
        short=("dataset", *varied),
        least=("time", "steps", "train loss", "dataset"),
    )
    header, lines = whole_table(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    write_text(folder / "summary.csv", text.getvalue())
    write_text(folder / "summary.md", markdown(parsed, rows))
    console.info(how_sorted(parsed.sort_by))
    console.info(f"the whole table: {folder}/summary.csv and summary.md")


def varied_keys(rows: Sequence[SummaryRow]) -> list[str]:
    """Return the keys that the experiments' groups vary, in the file's order."""
    return list(
        dict.fromkeys(key for row in rows for key in row.experiment.changes if key != "dataset")
    )


def screen_table(rows: Sequence[SummaryRow]) -> tuple[list[str], list[list[str]], list[str]]:
    """(columns, cells, which of them are numbers): what fits a terminal."""
    keys = varied_keys(rows)
    numbers = ["steps", "train loss", "val loss", "n", "eval loss", "ROUGE-L", "time"]
    columns = [
        "experiment",
        "dataset",
        *(key.rpartition(".")[2] for key in keys),
        "state",
        *numbers,
    ]
    cells = []
    for row in rows:
        changed = [str(row.experiment.changes.get(key, "")) for key in keys]
        metrics = [before_after(row.view, "loss", ".3f"), before_after(row.view, "rouge_l", ".1f")]
        seconds = row.view.seconds
        cells.append(
            [row.experiment.name, row.experiment.dataset, *changed, _state(row), row.view.steps, decimals(row.view.loss),
             decimals(row.view.val_loss), str(row.rows or ""), *metrics, "" if seconds is None else show_duration(seconds)]
        )  # fmt: skip
    return columns, cells, numbers


def whole_table(rows: Sequence[SummaryRow]) -> tuple[list[str], list[list[str]]]:
    """Every figure, as numbers without rounding: for a spreadsheet."""
    keys = varied_keys(rows)
    header = [
        "experiment",
        "dataset",
        *keys,
        "state",
        "outcome",
        "backend",
        "steps",
        "train_loss",
        "val_loss",
    ]
    header += ["rows"]
    header += [f"{metric}_{part}" for metric in METRICS for part in _PARTS]
    header += ["tokens_per_second", "seconds", "bytes"]
    lines = []
    for row in rows:
        view = row.view
        found = [view.metric(metric) for metric in METRICS]
        metrics = [
            _plain(value)
            for one in found
            for value in (
                (one.base, one.tuned, *(one.interval or (None, None))) if one else (None,) * 4
            )
        ]
        lines.append(
            [row.experiment.name, row.experiment.dataset, *(str(row.experiment.changes.get(key, "")) for key in keys),
             view.state, row.said, view.backend, view.steps, _plain(view.loss), _plain(view.val_loss), str(row.rows or ""), *metrics,
             _plain(number_in(view.record, "tokens_per_second")), _plain(view.seconds), str(view.size)]
        )  # fmt: skip
    return header, lines


def markdown(parsed: BatchFile, rows: Sequence[SummaryRow]) -> str:
    """The screen's table in Markdown."""
    columns, cells, numbers = screen_table(rows)
    lines = [
        f"# Batch, sorted by {parsed.sort_by}",
        "",
        f"{how_sorted(parsed.sort_by).capitalize()}.",
        "",
    ]
    lines += [_line(columns), _line(["---:" if column in numbers else "---" for column in columns])]
    return "\n".join([*lines, *(_line(row) for row in cells)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _state(row: SummaryRow) -> str:
    return row.said if row.said.startswith(("no data", "refused")) else row.view.state


def _plain(value: float | None) -> str:
    return "" if value is None else repr(value)
