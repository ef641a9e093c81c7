"""The report's part about data: what came in, what was left out and why, how long the rows are.

From the run's own data.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sftplay.console import share_text
from sftplay.errors import NotFoundError, SftplayError
from sftplay.host.runs.measured import number_in
from sftplay.host.runs.view import RunView
from sftplay.page import html
from sftplay.page.charts import histogram
from sftplay.page.scales import linear_ticks
from sftplay.places import SPLITS
from sftplay.untrusted import read_json

_FILES = 20
_LONGEST = 1e9  # tokens of a row


def data_page(view: RunView) -> Iterator[html.Markup]:
    """Rows, rejects, duplicates, truncation, lengths, files."""
    try:
        record = read_json(view.run.data_record)
    except NotFoundError:
        yield html.paragraph(
            "This run has no data.json: it began before sftplay kept one, or never began.",
            soft=True,
        )
        return
    except SftplayError as error:
        yield html.notice("bad", f"data.json: {error.what}.")
        return
    report, tokenized = (
        _mapping(record, "report"),
        _mapping(_mapping(_mapping(record, "stages"), "tokenize"), "facts"),
    )
    if not report:
        yield html.paragraph(
            "The rows were made by hand: there is no report of what they were made from.", soft=True
        )
    yield html.tiles(_tiles(report, tokenized))
    lengths = _lengths(record)
    limit = number_in(tokenized, "max_length")
    charts = [
        histogram(
            "Length of the training rows",
            lengths,
            x="tokens, prompt and answer together",
            marks=[(limit, f"model.max_length {limit:,.0f}")]
            if limit and lengths and limit < 4 * lengths[-1][1]
            else (),
        )
    ]
    tables = _sources(report)
    rejected = _mapping(report, "rejected")
    tables += (
        [
            html.table(
                ["why rows were set aside", "rows"],
                [[key, _count(count)] for key, count in rejected.items()],
            )
        ]
        if rejected
        else []
    )
    tables += _characters(report)
    yield html.side_by_side(
        *charts, html.element("div", *tables, html.facts(_settings(record, report, tokenized)))
    )
    files = report.get("files")
    if isinstance(files, list) and files:
        rows = [
            [str(one.get("file", "")), *(_count(one.get(key) or 0) for key in ("rows", "rejected", "duplicates")), f"{one.get('format', '')} ({one.get('evidence', '')})"]
            for one in files[:_FILES]
            if isinstance(one, Mapping)
        ]  # fmt: skip
        more = f", the first {_FILES} of {len(files):,}" if len(files) > _FILES else ""
        yield html.details(
            f"Files ({len(files):,}{more})",
            html.table(["file", "rows", "rejected", "duplicates", "format"], rows),
        )


def _sources(report: Mapping[str, Any]) -> list[html.Markup]:
    """Rows and shares of each source of data.mix, asked and real."""
    mix = _mapping(report, "mix")
    listed = mix.get("sources")
    rows = [
        [
            str(one.get("source", "")),
            _percent(one.get("asked")),
            *(_rows_and_share(one, split) for split in SPLITS),
            ", ".join(
                map(str, ended if isinstance(ended := one.get("exhausted_in"), list) else [])
            ),
        ]
        for one in (listed if isinstance(listed, list) else ())[:_FILES]
        if isinstance(one, Mapping)
    ]
    header = ["source of the mix", "share asked", *SPLITS, "all rows used in"]
    return [html.table(header, rows, wraps=True)] if rows else []


def _rows_and_share(source: Mapping[str, Any], split: str) -> str:
    share = _percent(_mapping(source, "shares").get(split))
    return _count(_mapping(source, "rows").get(split)) + (f" ({share})" if share else "")


def _percent(value: Any) -> str:
    return share_text(value) if isinstance(value, (int, float)) else ""


def _tiles(
    report: Mapping[str, Any], tokenized: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    rows = _mapping(report, "rows")
    for key, title in (
        ("in", "rows read"),
        ("rejected", "set aside"),
        ("duplicates", "exact duplicates"),
    ):
        value = number_in(rows, key)
        total = number_in(rows, "in")
        if value is not None:
            yield (
                title,
                f"{value:,.0f}",
                f"{100 * value / total:.1f}%" if total and key != "in" else "",
            )
    splits = _mapping(tokenized, "rows") or _mapping(report, "splits")
    for split, count in sorted(
        splits.items(), key=lambda item: SPLITS.index(item[0]) if item[0] in SPLITS else 9
    ):
        yield f"{split} rows", _count(count), ""
    for key, title in (
        ("too_long", "too long"),
        ("truncated", "cut"),
        ("dropped", "dropped for length"),
    ):
        value = number_in(tokenized, key)
        if value is not None:
            yield title, f"{value:,.0f}", ""
    trained = number_in(_mapping(tokenized, "trained_tokens"), "train")
    if trained is not None:
        yield "trained tokens", f"{trained:,.0f}", "in the train split"


def _settings(
    record: Mapping[str, Any], report: Mapping[str, Any], tokenized: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    raw = record.get("raw", "")
    if isinstance(raw, Mapping):
        yield "data.mix", ", ".join(f"{name}: {weight:.15g}" for name, weight in raw.items())
    else:
        yield "data.raw", str(raw)
    style = _mapping(_mapping(_mapping(record, "stages"), "style"), "section")
    if style.get("style.prompt"):
        yield "style prompt", f"{style['style.prompt']} ({style.get('style.mode', '')})"
    for key, title in (("eot", "end of turn"), ("from", "rendered from")):
        if tokenized.get(key):
            yield title, str(tokenized[key])
    reasoning = _mapping(report, "reasoning")
    if reasoning.get("rows"):
        yield "rows with reasoning", f"{_count(reasoning['rows'])} ({reasoning.get('setting')})"


def _characters(report: Mapping[str, Any]) -> list[html.Markup]:
    measured = _mapping(report, "characters")
    names = ("min", "p50", "p90", "p99", "max")
    rows = [
        [
            which,
            *(
                "" if (value := number_in(quantiles, name)) is None else f"{value:,.0f}"
                for name in names
            ),
        ]
        for which, quantiles in measured.items()
    ]
    return [html.table(["characters", *names], rows)] if rows else []


def _lengths(record: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    """About 30 round bins of the counted lengths."""
    try:
        counted = [(float(length), int(count)) for length, count in record.get("lengths", [])]
    except (TypeError, ValueError):
        return []
    if not counted or not all(0 <= length <= _LONGEST for length, _ in counted):
        return []
    high = max(length for length, _ in counted)
    ticks = linear_ticks(0, high, 30)
    step = max(1.0, ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    heights = [0] * (int(high // step) + 1)
    for length, count in counted:
        heights[int(length // step)] += count
    return [(place * step, (place + 1) * step, height) for place, height in enumerate(heights)]


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}
