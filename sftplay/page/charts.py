"""Pictures in a page, as SVG in place: curves, a histogram, bars. They need no script; resting on a
point shows its value.

Each has a title and a description for readers who do not see it. Lines differ in colour and in
their dashes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sftplay.page.chart_parts import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    axes,
    draw_legend,
    figure,
    frame,
    left_margin,
    shortened,
    svg,
    vertical_line,
)
from sftplay.page.html import Markup, element, join, text
from sftplay.page.scales import Point, Scale, number, smoothed, thinned
from sftplay.page.style import DASHES

POINTS = 600  # of each drawn curve: more than a screen shows
_SPOTS = 80  # of each curve: places that show their value


@dataclass(frozen=True)
class Series:
    """A curve: its name for the legend, and (x, y) by rising x.

    Values that are not finite are left out and counted.
    """

    name: str
    points: Sequence[Point]


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "step",
    y: str = "",
    log: bool = False,
    smooth: float = 0.0,
    note: str = "",
    zero: bool = False,
) -> Markup:
    """Curves over one pair of axes. However many points they have, few hundred of each are drawn.

    Args:
        x, y: what the axes count. log: y by its logarithm; values up to 0 are left out and counted.
        smooth: 0, or the weight (as in `scales.smoothed`) of a smoothed curve, drawn over the pale
            true one.
        note: a line below the title. zero: the y axis begins at 0.
    """
    usable = [(one.name, [p for p in one.points if _drawable(p, log)]) for one in series]
    left_out = sum(len(one.points) for one in series) - sum(len(points) for _, points in usable)
    remarks = [note] if note else []
    remarks += [f"{left_out} values could not be drawn"] if left_out else []
    every = [point for _, points in usable for point in points]
    if not every:
        return figure(title, remarks, element("p", "Nothing to draw.", class_="note"))
    across, up = frame(
        [p[0] for p in every], [p[1] for p in every], log=log, zero=zero, named=bool(y)
    )
    parts: list[object] = [axes(across, up, x, y)]
    for place, (name, points) in enumerate(usable):
        parts.append(_curve(name, place, points, across, up, smooth))
    said = "; ".join(_in_words(name, points, x) for name, points in usable if points)
    legend = draw_legend([name for name, _ in usable]) if len(series) > 1 else ""
    remarks += [f"smoothed (weight {smooth:g}), the true values pale behind"] if smooth else []
    return figure(title, remarks, join((legend, svg(title, said, parts))))


def histogram(
    title: str,
    counted: Sequence[tuple[float, float, int]],
    *,
    x: str = "",
    y: str = "rows",
    marks: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Markup:
    """Draw the counts of values between borders.

    Args:
        counted: (from, to, how many), by rising borders.
        marks: upright lines with a word, such as a limit.
    """
    remarks = [note] if note else []
    if not counted:
        return figure(title, remarks, element("p", "Nothing to draw.", class_="note"))
    low, high = (
        counted[0][0],
        max(counted[-1][1], *(value for value, _ in marks), counted[0][0] + 1e-9),
    )
    up = Scale(0, max(1, *(count for *_, count in counted)), HEIGHT - BOTTOM, TOP)
    across = Scale(low, high, left_margin(up, named=bool(y)), WIDTH - RIGHT)
    parts: list[object] = [axes(across, up, x, y)]
    for start, end, count in counted:
        left, width = across(start), across(end) - across(start)
        parts.append(
            Markup(
                f'<rect class="f0" x="{left:.1f}" y="{up(count):.1f}" width="{max(width - 0.8, 0.6):.1f}" '
                f'height="{up(0) - up(count):.1f}"><title>{number(start)} to {number(end)}: {count:,}</title></rect>'
            )
        )
    for value, word in marks:
        parts.append(vertical_line(across(value), word))
    total, tallest = sum(count for *_, count in counted), max(counted, key=lambda one: one[2])
    said = f"{total:,} values from {number(low)} to {number(counted[-1][1])}; most ({tallest[2]:,}) from {number(tallest[0])} to {number(tallest[1])}"
    return figure(title, remarks, svg(title, said, parts))


def bars(
    title: str, values: Sequence[tuple[str, float]], *, unit: str = "", note: str = ""
) -> Markup:
    """A bar for each name, lying, with its value next to it.

    Bars begin at 0; below 0 they go the other way.
    """
    remarks = [note] if note else []
    shown = [(name, value) for name, value in values if math.isfinite(value)]
    if not shown:
        return figure(title, remarks, element("p", "Nothing to draw.", class_="note"))
    low, high = min(0.0, *(v for _, v in shown)), max(0.0, *(v for _, v in shown))
    across = Scale(low, high if high > low else low + 1, 4, WIDTH - 90)
    row, parts = 40, []
    for place, (name, value) in enumerate(shown):
        top, ends = place * row, sorted((across(0), across(value)))
        label = f"{number(value)}{f' {unit}' if unit else ''}"
        parts.append(
            Markup(
                f'<text class="ink" x="4" y="{top + 14}">{text(shortened(name, 62))}</text>'
                f'<rect class="f0" x="{ends[0]:.1f}" y="{top + 19}" width="{max(ends[1] - ends[0], 1):.1f}" height="14">'
                f"<title>{text(name)}: {text(label)}</title></rect>"
                f'<text x="{ends[1] + 5:.1f}" y="{top + 30}">{text(label)}</text>'
            )
        )
    said = "; ".join(f"{name}: {number(value)} {unit}".rstrip() for name, value in shown)
    return figure(title, remarks, svg(title, said, parts, height=row * len(shown) + 4))


def _drawable(point: Point, log: bool) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1]) and (point[1] > 0 or not log)


def _curve(
    name: str, place: int, points: Sequence[Point], across: Scale, up: Scale, smooth: float
) -> Markup:
    if not points:
        return Markup("")
    colour, main = place % len(DASHES), smoothed(points, smooth) if smooth else points
    drawn = thinned(main, POINTS)
    dash = f' stroke-dasharray="{DASHES[colour]}"' if DASHES[colour] else ""
    parts = []
    if smooth:
        parts.append(
            f'<polyline class="raw l{colour}" points="{_path(thinned(points, POINTS), across, up)}"/>'
        )
    if len(drawn) > 1:
        parts.append(
            f'<polyline class="line l{colour}"{dash} points="{_path(drawn, across, up)}"/>'
        )
    else:
        parts.append(
            f'<circle class="f{colour}" cx="{across(drawn[0][0]):.1f}" cy="{up(drawn[0][1]):.1f}" r="3"/>'
        )
    for x, y in drawn[:: max(1, math.ceil(len(drawn) / _SPOTS))]:
        said = f"{text(name)}, {number(x)}: {number(y)}"
        parts.append(
            f'<circle class="spot f{colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="5"><title>{said}</title></circle>'
        )
    return Markup("".join(parts))


def _path(points: Iterable[Point], across: Scale, up: Scale) -> str:
    return " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)


def _in_words(name: str, points: Sequence[Point], x: str) -> str:
    lowest = min(points, key=lambda point: point[1])
    return (
        f"{name}: {number(points[0][1])} at {x} {number(points[0][0])}, {number(points[-1][1])} at {x} {number(points[-1][0])}, "
        f"lowest {number(lowest[1])} at {x} {number(lowest[0])}"
    )
