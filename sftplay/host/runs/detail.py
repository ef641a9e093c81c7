"""`inv runs.show RUN`: everything that one run folder tells, on the screen."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from sftplay import console
from sftplay.attempts import checkpoints_in
from sftplay.files import human_size
from sftplay.host.protocol import records
from sftplay.host.runs.exported import exported
from sftplay.host.runs.measured import title_of
from sftplay.host.runs.view import RunView, require_run
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.harmless_console import HarmlessConsole
from sftplay.host.ui.tables import print_table
from sftplay.significance import METRIC_TITLES, show_number

LATEST = 12  # events shown
HASH = re.compile(r"\b((?:sha256:)?[0-9a-f]{12})[0-9a-f]{28,52}\b")
_WITH_COMMAS = 100_000


def show(name: str) -> None:
    """Print it on stdout; problems on stderr."""
    view = require_run(name)
    out = HarmlessConsole(highlight=False, soft_wrap=not sys.stdout.isatty())
    for heading, everything in sections(view):
        pairs = [(key, value) for key, value in everything if value]
        if not pairs:
            continue
        out.print(Text(f"\n{heading}", style="bold"))
        width = max(len(key) for key, _ in pairs)
        for key, value in pairs:
            _print_pair(out, f"  {key:{width}}  ", value)
    for split, record in sorted(view.metrics.items()):
        out.print(Text(f"\nevaluation on {title_of(split)}", style="bold"))
        print_table(
            ("metric", "base", "tuned", "difference"),
            list(metric_rows(record)),
            ("base", "tuned", "difference"),
        )
    if view.events:
        out.print(Text("\nhistory", style="bold"))
        for event in view.events[-LATEST:]:
            _print_pair(out, "  ", event_line(event))
    out.print()
    for problem in view.problems:
        console.warning(problem)
    if next_step(view):
        console.info(f"next: {next_step(view)}")


def _print_pair(out: HarmlessConsole, name: str, value: str) -> None:
    """A name and its value: one line, on a terminal as many as it takes, broken between words."""
    if out.soft_wrap:
        out.print(Text(f"{name}{value}"))
        return
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(name), Text(value))
    out.print(grid)


def sections(view: RunView) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(heading, [(name, value)]) of what stamp and record hold; the report shows the same."""
    stamp, record = view.stamp, view.record
    effective = record.get("effective") if isinstance(record.get("effective"), Mapping) else {}
    yield f"{view.name}: {view.state}", list(_outcome(view))
    fallback = stamp.get("fallback")
    yield (
        "what trained it",
        [
            ("backend", view.backend),
            ("handed over", _fallback(fallback) if isinstance(fallback, Mapping) else ""),
            *(
                (key, brief(stamp.get(key)))
                for key in ("base_model", "revision", "tuning_method", "quantization")
            ),
            (
                "precision",
                f"{stamp.get('precision', '')} {_in_brackets(stamp.get('precision_reason'))}".strip(),
            ),
            *(
                (key, brief(stamp.get(key)))
                for key in ("attention", "device", "stack", "image_digest", "lora")
            ),
            ("init_adapter", brief(stamp.get("init_adapter"))),
            ("optimization", brief(stamp.get("optimization"))),
        ],
    )
    yield "exported", list(exported(view.run))
    yield (
        "settings that were in force",
        [
            (
                key,
                brief(value).removeprefix("OptimizerNames.").lower()
                if key == "optimizer"
                else brief(value),
            )
            for key, value in (effective or {}).items()
        ],
    )
    hashes = ("weights_hash", "data_hash", "template_hash", "lock_hash", "environment_hash")
    yield "what it was made from", [(key, brief(stamp.get(key))) for key in hashes]
    versions = stamp.get("versions")
    yield (
        "versions",
        [(key, str(value)) for key, value in versions.items()]
        if isinstance(versions, Mapping)
        else [],
    )


def _outcome(view: RunView) -> Iterator[tuple[str, str]]:
    record, seconds = view.record, view.seconds
    yield "folder", str(view.run.folder)
    yield "began", view.began.strftime("%Y-%m-%d %H:%M:%S UTC") if view.began else ""
    yield "time", "" if seconds is None else show_duration(seconds)
    yield "steps", view.steps + (" (stopped early)" if record.get("stopped_early") else "")
    yield "loss", _decrease(record.get("first_loss"), view.loss)
    yield "val loss", "" if view.val_loss is None else f"{view.val_loss:.4f}"
    yield "tokens/s", " ".join(view.speed).strip()
    peak = record.get("peak_memory_bytes")
    yield "peak memory", human_size(peak) if isinstance(peak, (int, float)) else ""
    yield "size", human_size(view.size)
    for attempt in view.run.attempts():
        steps = [str(step) for step, _ in checkpoints_in(attempt.checkpoints)]
        yield f"attempt {attempt.name}", f"checkpoints: {', '.join(steps) or 'none'}"
    yield "last start", _last_start(view)


def _last_start(view: RunView) -> str:
    try:
        start = records.newest(view.run.launch)
        end = records.read_exit(view.run.launch, start) if start else None
    except Exception as error:  # noqa: BLE001 - whatever is in that folder, the rest is shown
        return f"not readable ({error})"
    if start is None:
        return ""
    code = "is running, or its end was not recorded" if end is None else f"ended with {end.code}"
    place = f" ({start.place})" if start.place else ""
    return f"inv {' '.join(start.argv)}{place}: {code}"


def metric_rows(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """The evaluation's metrics as rows of text."""
    found = record.get("metrics")
    metrics = found if isinstance(found, Mapping) else {}
    known = [name for name in METRIC_TITLES if name in metrics]
    for name in [*known, *(name for name in metrics if name not in known)]:
        values = metrics[name]
        try:
            yield [
                METRIC_TITLES.get(name, name),
                *(show_number(values[key], ".3f") for key in ("base", "tuned")),
                show_number(values["difference"], "+.3f"),
            ]
        except (KeyError, TypeError, ValueError):
            yield [METRIC_TITLES.get(name, name), "?", "?", "?"]


def event_line(event: Mapping[str, Any]) -> str:
    """An event for people: time, kind, and what it says."""
    if event.get("event") == "unreadable":
        return f"not readable: {event.get('line', '')}"
    rest = {
        key: value
        for key, value in event.items()
        if key not in ("time", "event") and value is not None
    }
    said = "  ".join(f"{key} {brief(value)}" for key, value in rest.items())
    return f"{str(event.get('time', ''))[:19].replace('T', ' ')}  {event.get('event', '?')!s:12}  {said}"


def next_step(view: RunView) -> str:
    """Return what a person would type next."""
    if view.state in ("interrupted", "cut off") and view.stamp:
        return f"inv train --run {view.name} --resume"
    if view.state == "finished" and not view.metrics:
        return f"inv eval --run {view.name}"
    return f"inv report {view.name}" if view.state == "finished" else ""


def brief(value: Any) -> str:
    """A value of a stamp for people: numbers rounded, hashes shortened, what is empty left out."""
    if isinstance(value, Mapping):
        items = ((key, brief(item)) for key, item in value.items())
        return ", ".join(f"{key} {item}" for key, item in items if item)
    if isinstance(value, (list, tuple)):
        return ", ".join(brief(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= _WITH_COMMAS else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return HASH.sub(r"\1…", shown(value))


def shown(value: Any) -> str:
    """A value of a stamp as text, exact."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return (
        ""
        if value is None
        else value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
    )


def _fallback(fallback: Mapping[str, Any]) -> str:
    return (
        f"from {fallback.get('from_attempt')}: {fallback.get('reason')} ({fallback.get('message')})"
    )


def _decrease(first: Any, last: float | None) -> str:
    if last is None:
        return ""
    return f"{first:.4f} → {last:.4f}" if isinstance(first, (int, float)) else f"{last:.4f}"


def _in_brackets(value: Any) -> str:
    return f"({value})" if value else ""
