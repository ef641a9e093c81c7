"""Parts of every chart: frame, axes, legend, and the figure around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sftplay.page.html import Markup, element, join, text
from sftplay.page.scales import Scale, number
from sftplay.page.style import DASHES

WIDTH, HEIGHT = 460, 270


RIGHT, TOP, BOTTOM = 12, 8, 40


def frame(
    xs: Sequence[float], ys: Sequence[float], *, log: bool, zero: bool, named: bool
) -> tuple[Scale, Scale]:
    """Return the scales across and up in which all values fit."""
    low, high = min(ys), max(ys)
    if not log:
        room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        low, high = (0.0 if zero and low >= 0 else low - room), high + room
        if min(ys) >= 0 > low:
            low = 0.0
    elif high == low:
        low, high = low / 2, high * 2
    up = Scale(low, high, HEIGHT - BOTTOM, TOP, log=log)
    return Scale(min(xs), max(xs), left_margin(up, named=named), WIDTH - RIGHT), up


def left_margin(up: Scale, *, named: bool) -> float:
    """Return the place where the left axis stands, with room for its numbers."""
    """Room for the labels of the upright axis, by the longest, and for its name."""
    return 14 + 7.5 * max(len(number(value)) for value in up.ticks()) + (14 if named else 0)


def axes(across: Scale, up: Scale, x: str, y: str) -> Markup:
    """Draw lines, ticks and names of both axes."""
    parts, left = [], across.start
    for value in up.ticks():
        place = up(value)
        parts.append(
            f'<line class="rule" x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        )
        parts.append(
            f'<text x="{left - 6:.1f}" y="{place + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    for value in across.ticks():
        place = across(value)
        anchor = "end" if place > WIDTH - 30 else "middle"
        parts.append(
            f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{number(value)}</text>'
        )
    parts.append(
        f'<line class="axis" x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{up.start}" y2="{up.start}"/>'
    )
    parts.append(
        f'<text x="{(left + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text(x)}</text>'
    )
    if y:
        middle = (HEIGHT - BOTTOM + TOP) / 2
        parts.append(
            f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{text(y)}</text>'
        )
    return Markup("".join(parts))


def vertical_line(place: float, word: str) -> Markup:
    """Draw a marked line from top to bottom with a word next to it."""
    anchor = "end" if place > WIDTH / 2 else "start"
    shift = -4 if anchor == "end" else 4
    return Markup(
        f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="ink" x="{place + shift:.1f}" y="{TOP + 11}" text-anchor="{anchor}">{text(word)}</text>'
    )


def draw_legend(names: Sequence[str]) -> Markup:
    """Draw a line and a name for each curve."""
    items = []
    for place, name in enumerate(names):
        colour = place % len(DASHES)
        dash = f' stroke-dasharray="{DASHES[colour]}"' if DASHES[colour] else ""
        sample = f'<svg viewBox="0 0 32 10" aria-hidden="true"><line class="line l{colour}"{dash} x1="0" x2="32" y1="5" y2="5"/></svg>'
        items.append(element("li", Markup(sample), name))
    return element("ul", *items, class_="legend")


def svg(title: str, said: str, parts: Iterable[object], *, height: float = HEIGHT) -> Markup:
    """Return the picture with its title and description for screen readers."""
    inside = join((element("title", title), element("desc", said), *parts))
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img">{inside}</svg>')


def figure(title: str, remarks: Sequence[str], picture: Markup) -> Markup:
    """Return the picture with its caption and remarks."""
    small = element("small", "; ".join(remarks)) if remarks else ""
    return element("figure", element("figcaption", title, small), picture)


def shortened(words: str, limit: int) -> str:
    """Cut words to a length, with an ellipsis."""
    return words if len(words) <= limit else words[: limit - 1] + "…"
