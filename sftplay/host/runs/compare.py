"""`inv runs.compare A B …`: what differs between runs in config and stamp, their metrics side by
side, their curves in one picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from sftplay import console
from sftplay.config import walk_settings
from sftplay.errors import SftplayError, UsageError
from sftplay.files import write_text
from sftplay.host.runs import curves
from sftplay.host.runs.comparable import other_rows
from sftplay.host.runs.detail import HASH, shown
from sftplay.host.runs.measured import title_of
from sftplay.host.runs.table import before_after, decimals
from sftplay.host.runs.view import RunView, require_run
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.harmless_console import HarmlessConsole
from sftplay.host.ui.tables import print_table
from sftplay.page import html
from sftplay.page.charts import Series, line_chart
from sftplay.places import OUTPUTS, output_file
from sftplay.yamlfile import read_yaml

_NOT_COMPARED = ("created", "hash", "precision_reason", "schema_version")
METRICS: Mapping[str, str] = {
    "loss": "eval loss", "perplexity": "perplexity", "exact_match": "exact match", "token_f1": "token F1",
    "rouge_l": "ROUGE-L", "chrf": "chrF",
}  # fmt: skip


def compare(names: Sequence[str], output: str | None = None) -> None:
    """Print the comparison, and write it as a page.

    Args:
        output: the page; default: outputs/compare-A-B.html.

    Raises:
        UsageError: fewer than two runs, or one twice (2).
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            "name two or more different runs", todo="inv runs.compare A B; inv runs lists them"
        )
    views = [require_run(name) for name in names]
    out = HarmlessConsole(highlight=False)
    unlike, alike = parted(outcome(views))
    for heading, rows in (("outcome", unlike), ("different", differences(views))):
        if rows or heading == "different":
            out.print(Text(f"\n{heading}", style="bold"))
        if rows:
            print_table(("", *names), rows, names if heading == "outcome" else ())
        elif heading == "different":
            out.print("  nothing: the same config and the same stamp")
    out.print()
    if alike:
        console.info(f"the same in all: {alike}")
    for line in other_rows(views):
        console.warning(line)
    path = output_file(output) if output else OUTPUTS / f"compare-{'-'.join(names)[:100]}.html"
    write_text(path, page(views))
    for view in views:
        for problem in view.problems:
            console.warning(f"{view.name}: {problem}")
    console.success(f"the curves in one picture: {path}")


def parted(rows: Sequence[Sequence[str]]) -> tuple[list[Sequence[str]], str]:
    """The lines whose values differ; and the others as one text."""
    alike = [row for row in rows if len({*row[1:]}) == 1]
    unlike = [row for row in rows if row not in alike]
    return unlike, ", ".join(f"{row[0]} {row[1]}" for row in alike)


def outcome(views: Sequence[RunView]) -> list[list[str]]:
    """State, losses, speed and metrics; lines that no run has are left out."""
    rows = [
        ["state", *(view.state for view in views)],
        ["steps", *(view.steps for view in views)],
        ["train loss", *(decimals(view.loss) for view in views)],
        ["val loss", *(decimals(view.val_loss) for view in views)],
        ["tokens/s", *(" ".join(view.speed).strip() for view in views)],
        ["time", *("" if view.seconds is None else show_duration(view.seconds) for view in views)],
    ]
    rows += [
        [title, *(before_after(view, name, ".2f") for view in views)]
        for name, title in METRICS.items()
    ]
    measured = [view.metric("loss") for view in views]
    rows.append(
        ["rows evaluated", *(f"{one.rows:,} of {one.split}" if one else "" for one in measured)]
    )
    return [row for row in [*rows, *_task_rows(views)] if any(row[1:])]


def _task_rows(views: Sequence[RunView]) -> list[list[str]]:
    """The first metric of each task of lm-eval; with its rows, as a run may have fewer of them."""
    found = [{(one.split, one.name): one for one in view.task_metrics()} for view in views]
    cells = [
        {key: f"{one.shown('.2f')}, {one.rows:,} rows" for key, one in each.items()}
        for each in found
    ]
    return [
        [f"{title_of(key[0])} {key[1]}", *(each.get(key, "") for each in cells)]
        for key in sorted({key for each in found for key in each})
    ]


def differences(views: Sequence[RunView]) -> list[list[str]]:
    """Every key of config and stamp that is not the same in all runs; what the config says is not
    said again by the stamp.
    """
    configs = [_defaults(view) | flat(read_config(view)) | _style(view) for view in views]
    stamps = [flat(view.stamp) for view in views]
    rows = unlike([{key: v for key, v in one.items() if key != "run.name"} for one in configs])
    reported = {row[0].rpartition(".")[2] for row in rows} | set(_NOT_COMPARED)
    for row in unlike(stamps):
        if row[0].rpartition(".")[2] not in reported:
            rows.append(row)
    return rows


def _defaults(view: RunView) -> dict[str, str]:
    """Values of keys that did not exist when a run's config was written; {} if it can't be read."""
    if not read_config(view):
        return {}
    return {key: shown(default) for key, _, default, _ in walk_settings()}


def _style(view: RunView) -> dict[str, str]:
    """The style that the data has, also where an option of the style stage gave it and the config
    knows nothing of it.
    """
    if "style" not in view.record:
        return {}
    style = view.record["style"]
    return flat(style, "style.") if isinstance(style, Mapping) else {"style.prompt": ""}


def unlike(sides: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Return a row for each key that is not the same on all sides: key, then the value of each."""
    keys = list(dict.fromkeys(key for side in sides for key in side))
    unlike = [key for key in keys if len({side.get(key) for side in sides}) > 1]
    return [[key, *(HASH.sub(r"\1…", side.get(key, "–")) for side in sides)] for key in unlike]


def read_config(view: RunView) -> dict[str, Any]:
    """The run's resolved config as plain values; {} where it can't be read (the list of problems
    says so).
    """
    try:
        return read_yaml(view.run.config)[0]
    except SftplayError:
        return {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as `section.key` → text."""
    found: dict[str, str] = {}
    for key, value in values.items():
        found.update(
            flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": shown(value)}
        )
    return found


def pictures(views: Sequence[RunView]) -> html.Markup:
    """Training and val loss of all runs, each in one picture."""
    charts = []
    for name, title in (("loss", "Training loss"), ("eval_loss", "Loss on the val split")):
        series = [Series(view.name, curves.one_curve(view.run, name)) for view in views]
        drawn = [one for one in series if one.points]
        if drawn:
            charts.append(line_chart(title, drawn, y="nats per token"))
    return (
        html.side_by_side(*charts)
        if charts
        else html.paragraph("No run has logged a point yet.", soft=True)
    )


def page(views: Sequence[RunView]) -> str:
    """The comparison as one HTML file."""
    names = [view.name for view in views]
    unlike = differences(views)
    different, alike = parted(outcome(views))
    return html.page(
        f"Comparison of {', '.join(names)}",
        html.section(
            "Outcome",
            *(html.notice("warn", line) for line in other_rows(views)),
            html.table(["", *names], different) if different else "",
            html.paragraph(f"The same in all: {alike}.", soft=True) if alike else "",
        ),
        html.section("Curves", pictures(views)),
        html.section(
            "What differs",
            html.table(["key", *names], unlike, wraps=True)
            if unlike
            else html.paragraph("Nothing: the same config, the same stamp."),
        ),
        lead="Base → tuned in cells with two values.",
    )
