"""The parts of a run's report.

Each takes the run as it was found, and says so where something is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from sftplay import __version__
from sftplay.errors import SftplayError
from sftplay.files import human_size
from sftplay.host.report.data import data_page
from sftplay.host.runs import curves
from sftplay.host.runs.detail import event_line, sections
from sftplay.host.runs.measured import MeasuredMetric, number_in, title_of
from sftplay.host.runs.view import RunView
from sftplay.host.ui.format import show_duration
from sftplay.page import html
from sftplay.page.charts import Series, line_chart
from sftplay.significance import MARKS, METRIC_TITLES, show_number
from sftplay.untrusted import read_bytes

_SMOOTHED_FROM = 60  # points

__all__ = [
    "data_page",
    "evaluation",
    "figures",
    "lead",
    "made_by",
    "notices",
    "provenance",
    "training_curves",
]


def lead(view: RunView) -> html.Markup:
    """Return a sentence about what was trained."""
    stamp = view.stamp
    what = [
        f"{stamp.get('base_model', 'an unknown model')}, {stamp.get('tuning_method', 'method unknown')}"
    ]
    what += [f"backend {view.backend}"] if view.backend else []
    what += [f"on {stamp['device']}"] if stamp.get("device") else []
    what += [f"begun {view.began:%Y-%m-%d %H:%M} UTC"] if view.began else []
    return html.join(
        [
            html.mark("good" if view.state == "finished" else "warn", view.state),
            ": ",
            "; ".join(what),
        ]
    )


def notices(view: RunView) -> Iterator[html.Markup]:
    """Yield what a reader should know before the figures."""
    fallback = view.stamp.get("fallback")
    if isinstance(fallback, Mapping):
        said = f"Asked for {view.stamp.get('requested_backend')}, trained with {view.stamp.get('backend')}: "
        yield html.notice(
            "warn", said, html.code(fallback.get("reason")), f" ({fallback.get('message')})"
        )
    if view.state in ("interrupted", "cut off"):
        yield html.notice(
            "warn",
            "Not finished. To continue: ",
            html.code(f"inv train --run {view.name} --resume"),
        )
    if view.state in ("failed", "damaged"):
        yield html.notice("bad", f"This run is {view.state}.")
    if view.problems:
        yield html.notice("bad", "Could not be read whole:", html.bullets(view.problems))


def figures(view: RunView) -> html.Markup:
    """The few figures first."""
    record, items = view.record, []
    if view.val_loss is not None:
        items.append(("loss on val", f"{view.val_loss:.3f}", "while training, the best"))
    first = number_in(record, "first_loss")
    if view.loss is not None:
        items.append(
            ("training loss", f"{view.loss:.3f}", "" if first is None else f"from {first:.3f}")
        )
    rouge = view.metric("rouge_l")
    if rouge:
        items.append(
            (
                "ROUGE-L",
                f"{rouge.tuned:.1f}",
                f"{rouge.base:.1f} before training ({rouge.split}, {rouge.rows:,} rows)",
            )
        )
    if view.steps:
        items.append(("steps", view.steps, "stopped early" if record.get("stopped_early") else ""))
    speed, note = view.speed
    items += [("tokens per second", speed, note)] if speed else []
    peak = number_in(record, "peak_memory_bytes")
    items += [("peak memory", human_size(peak), "")] if peak is not None else []
    if view.seconds is not None:
        items.append(("time", show_duration(view.seconds), ""))
    return html.tiles([*items, ("on disk", human_size(view.size), "")])


def training_curves(view: RunView) -> html.Markup:
    """Loss, learning rate, speed, memory of the attempt that counts."""
    found = curves.read(view.run)
    if not found:
        return html.paragraph("No points were logged.", soft=True)
    counted = found[-1]
    loss = counted.of("loss")
    smooth = 0.9 if len(loss) >= _SMOOTHED_FROM else 0.0
    charts = [
        line_chart("Training loss", [Series("training", loss)], y="nats per token", smooth=smooth)
    ]
    val = counted.of("eval_loss")
    charts += (
        [line_chart("Loss on the val split", [Series("val", val)], y="nats per token")]
        if len(val) > 1
        else []
    )
    for name, title, unit, scale in (
        ("learning_rate", "Learning rate", "", 1.0),
        ("mean_token_accuracy", "Token accuracy in training", "%", 100.0),
        ("grad_norm", "Norm of the gradient before clipping", "", 1.0),
        ("tokens_per_second", "Speed", "tokens per second", 1.0),
        ("memory_bytes", "Memory in use", "GB", 1e-9),
    ):
        points = [(step, value * scale) for step, value in counted.of(name)]
        if points:
            charts.append(
                line_chart(title, [Series(title, points)], y=unit, zero=name != "grad_norm")
            )
    notes = [f"Attempt {counted.attempt.name}."] if len(view.run.attempts()) > 1 else []
    notes += (
        [f"{counted.unreadable} torn lines in steps.jsonl are left out."]
        if counted.unreadable
        else []
    )
    return html.join(
        [html.side_by_side(*charts), html.paragraph(" ".join(notes), soft=True) if notes else ""]
    )


def evaluation(view: RunView) -> Iterator[html.Markup]:
    """Base against tuned, a table for each split."""
    if not view.metrics:
        yield html.paragraph("Not evaluated yet: ", html.code(f"inv eval --run {view.name}"))
    for split, record in sorted(view.metrics.items()):
        names = record.get("metrics")
        found = [
            MeasuredMetric.read(name, split, record)
            for name in (*METRIC_TITLES, *(names if isinstance(names, Mapping) else ()))
        ]
        measured = list({one.name: one for one in found if one is not None}.values())
        caption = title_of(split, "split") + (f", {measured[0].rows:,} rows" if measured else "")
        columns = ["metric", "base", "tuned", "difference", "95 % interval", ""]
        yield html.table(columns, [_measured(one) for one in measured], caption=caption)
        changed = record.get("data_changed_since_training")
        if changed:
            yield html.notice(
                "warn", "The data is not that of the training:", html.bullets(changed)
            )


def _measured(one: MeasuredMetric) -> list[str | html.Markup]:
    """A metric's line: what is more than noise has the colour of better or worse, and says so."""
    verdict, difference = one.verdict, show_number(one.difference, "+.3f")
    ends = " to ".join(show_number(end, "+.3f") for end in one.interval or ())
    judged = (
        html.text(difference)
        if verdict in ("noise", "few", "unknown")
        else html.mark("good" if verdict == "better" else "bad", difference)
    )
    title = METRIC_TITLES.get(one.name, one.name)
    base, tuned = (show_number(value, ".3f") for value in (one.base, one.tuned))
    return [title, base, tuned, judged, ends, MARKS[verdict]]


def provenance(view: RunView) -> Iterator[html.Markup]:
    """Stamp, effective settings, config, history."""
    for heading, pairs in islice(sections(view), 1, None):
        shown: list[tuple[Any, Any]] = [(key, value) for key, value in pairs if value]
        if shown:
            yield html.details(
                heading[:1].upper() + heading[1:],
                html.facts(shown),
                opened=heading == "what trained it",
            )
    if os.path.lexists(view.run.config):
        yield html.details("Config, as it was resolved", _config(view))
    if view.events:
        lines = [event_line(event) for event in view.events[-200:]]
        yield html.details(
            f"History ({len(view.events)} events)", html.preformatted("\n".join(lines))
        )


def _config(view: RunView) -> html.Markup:
    try:
        return html.preformatted(read_bytes(view.run.config).decode("utf-8", "replace"))
    except SftplayError as error:
        return html.notice("bad", f"config.yaml: {error.what}.")


def made_by() -> str:
    """The last line of a page."""
    return f"sftplay {__version__}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
