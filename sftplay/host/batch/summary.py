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
from sftplay.host.batch.file import LOWER_IS_BETTER, BatchFile
from sftplay.host.runs.read import read_run
from sftplay.host.runs.table import decimals
from sftplay.host.runs.view import RunView, number_in
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.tables import print_table
from sftplay.runs import Run

METRICS = ("loss", "perplexity", "exact_match", "token_f1", "rouge_l", "chrf", "ended")
_ON_SCREEN = ("loss", "rouge_l")


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
        return found[2] if found else None


def rows_of(
    parsed: BatchFile, experiments: Sequence[Experiment], said: Mapping[str, str]
) -> list[SummaryRow]:
    """Best first by the metric that the file names; experiments without it at the end, by name."""
    rows = [SummaryRow(one, read_run(Run(one.name)), said.get(one.name, "")) for one in experiments]
    sign = 1 if parsed.sort_by in LOWER_IS_BETTER else -1

    def place(row: SummaryRow) -> tuple[float, str]:
        value = None if parsed.sort_by == "name" else row.value(parsed.sort_by)
        return (math.inf if value is None else sign * value, row.experiment.name)

    return sorted(rows, key=place)


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
    console.info(f"the whole table: {folder}/summary.csv and summary.md")


def varied_keys(rows: Sequence[SummaryRow]) -> list[str]:
    """Return the keys that the experiments' groups vary, in the file's order."""
    return list(
        dict.fromkeys(key for row in rows for key in row.experiment.changes if key != "dataset")
    )


def screen_table(rows: Sequence[SummaryRow]) -> tuple[list[str], list[list[str]], list[str]]:
    """(columns, cells, which of them are numbers): what fits a terminal."""
    keys = varied_keys(rows)
    numbers = ["steps", "train loss", "val loss", "eval loss", "ROUGE-L", "time"]
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
        metrics = [_arrow(row, "loss", ".3f"), _arrow(row, "rouge_l", ".1f")]
        seconds = row.view.seconds
        cells.append(
            [row.experiment.name, row.experiment.dataset, *changed, _state(row), row.view.steps, decimals(row.view.loss),
             decimals(row.view.val_loss), *metrics, "" if seconds is None else show_duration(seconds)]
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
    header += [f"{metric}_{side}" for metric in METRICS for side in ("base", "tuned")]
    header += ["tokens_per_second", "seconds", "bytes"]
    lines = []
    for row in rows:
        view = row.view
        found = [view.metric(metric) for metric in METRICS]
        metrics = [_plain(value) for one in found for value in (one[1:] if one else (None, None))]
        lines.append(
            [row.experiment.name, row.experiment.dataset, *(str(row.experiment.changes.get(key, "")) for key in keys),
             view.state, row.said, view.backend, view.steps, _plain(view.loss), _plain(view.val_loss), *metrics,
             _plain(number_in(view.record, "tokens_per_second")), _plain(view.seconds), str(view.size)]
        )  # fmt: skip
    return header, lines


def markdown(parsed: BatchFile, rows: Sequence[SummaryRow]) -> str:
    """The screen's table in Markdown."""
    columns, cells, numbers = screen_table(rows)
    lines = [f"# Batch, sorted by {parsed.sort_by}", ""]
    lines += [_line(columns), _line(["---:" if column in numbers else "---" for column in columns])]
    return "\n".join([*lines, *(_line(row) for row in cells)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _state(row: SummaryRow) -> str:
    return row.said if row.said.startswith(("no data", "refused")) else row.view.state


def _arrow(row: SummaryRow, metric: str, form: str) -> str:
    found = row.view.metric(metric)
    return f"{found[1]:{form}} → {found[2]:{form}}" if found else ""


def _plain(value: float | None) -> str:
    return "" if value is None else repr(value)
