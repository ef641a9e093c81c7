"""The parts of a page. Text is escaped wherever it enters; only what these functions return goes in
as it is.

A page is one call: `page("Title", section("Loss", line_chart(…)), section("Rows", table(…)))`. It
needs no network and no script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from sftplay.page.style import CSS

Kind = Literal["good", "bad", "warn", "info"]
# No script, nothing loaded from anywhere: what the text of a data row could ever slip in would not
# run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), "�")


class Markup(str):
    """HTML that is ready. Everything else is text, and is escaped."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Anything as HTML: text escaped, control characters and lone surrogates shown as �, Markup as
    it is.
    """
    if isinstance(value, Markup):
        return value
    plain = str(value).translate(_CONTROL).encode("utf-8", "replace").decode("utf-8")
    return Markup(escape(plain, quote=True))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Several parts, one after the other."""
    return Markup(text(between).join(text(part) for part in parts))


def element(name: str, *parts: object, **attributes: object) -> Markup:
    """`<name attribute="…">parts</name>`; `class_` stands for class, `_` in a name for `-`, None
    leaves an attribute out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{join(parts)}</{name}>")


def page(title: str, *parts: object, lead: object = "", footer: object = "") -> str:
    """A whole page: its sections are linked at its top where there are more than two.

    Args:
        parts: what `section` and the others return.
        lead: a line or two under the title; footer: at the end.
    """
    body = join(parts, "\n")
    named = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body, re.DOTALL)
    links = [Markup(f'<a href="#{name}">{heading}</a>') for name, heading in named]
    opening = [element("h1", title), element("p", lead, class_="lead") if lead else ""]
    contents = element("nav", *links, aria_label="Contents") if len(links) > 2 else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n<style>\n{CSS}\n</style>\n</head>\n'
        f"<body>\n<header>\n{join(opening)}\n{contents}\n</header>\n<main>\n{body}\n</main>\n"
        f"{element('footer', footer) if footer else ''}\n</body>\n</html>\n"
    )


def section(heading: str, *parts: object) -> Markup:
    """A part of the page under a heading of its own."""
    name = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "part"
    return element("section", Markup(f'<h2 id="{name}">{text(heading)}</h2>\n'), *parts)


def heading(words: object) -> Markup:
    """A heading inside a section."""
    return element("h3", words)


def paragraph(*parts: object, soft: bool = False) -> Markup:
    """A paragraph; `soft`: in the colour of remarks."""
    return element("p", *parts, class_="note" if soft else None)


def bullets(items: Iterable[object]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    wraps: bool = False,
) -> Markup:
    """A table that scrolls by itself where it is wider than the screen. Columns of numbers stand
    right. With `wraps`, long words are broken before that: paths, hashes, names of runs.

    A row's first cell heads it. Cells are text, or Markup; a number is shown as `str` gives it:
    format it before.
    """
    body = [[text(cell) for cell in row] for row in rows]
    numeric = [
        bool(body) and all(_is_number(row[place]) for row in body) for place in range(len(header))
    ]
    classes = ["number" if number else None for number in numeric]
    head = [
        element("th", cell, scope="col", class_=name)
        for cell, name in zip(header, classes, strict=True)
    ]
    lines = []
    for row in body:
        cells = [element("td", cell, class_=name) for cell, name in zip(row, classes, strict=True)]
        if not numeric[0]:
            cells[0] = element("th", row[0], scope="row")
        lines.append(element("tr", *cells))
    parts = [element("caption", caption) if caption else "", element("thead", element("tr", *head))]
    whole = element("table", *parts, element("tbody", *lines), class_="wraps" if wraps else None)
    return element(
        "div", whole, class_="wide", tabindex=0, role="region", aria_label=caption or "table"
    )


def facts(pairs: Iterable[tuple[object, object]]) -> Markup:
    """Names and values, one under the other."""
    return element(
        "dl",
        *(join((element("dt", name), element("dd", value))) for name, value in pairs),
        class_="facts",
    )


def tiles(items: Iterable[tuple[object, object, object]]) -> Markup:
    """The few figures that a reader looks for first: (name, value, remark)."""
    made = [
        element(
            "div",
            element("span", name),
            element("b", value),
            element("small", note) if note else "",
            class_="tile",
        )
        for name, value, note in items
    ]
    return element("div", *made, class_="tiles")


def side_by_side(*parts: object) -> Markup:
    """Parts side by side where there is room, below each other on a phone."""
    return element("div", *parts, class_="side")


def details(summary: object, *parts: object, opened: bool = False) -> Markup:
    """A part that a reader opens."""
    inner = join((element("summary", summary), *parts))
    return Markup(f"<details{' open' if opened else ''}>{inner}</details>")


def preformatted(words: object) -> Markup:
    """Text with its own line breaks, in a well; long ones scroll.

    A first line break would be eaten, so it is doubled.
    """
    return element("pre", Markup("\n"), text(words), tabindex=0)


def code(words: object) -> Markup:
    """A command, a file name, a key."""
    return element("code", words)


def notice(kind: Kind, *parts: object) -> Markup:
    """Something a reader should not miss."""
    return element("div", *parts, class_=f"notice {kind}", role="note")


def mark(kind: Kind, words: object) -> Markup:
    """A word in the colour of its meaning; the word itself says it too."""
    return element("span", words, class_=kind)


def _is_number(cell: Markup) -> bool:
    return bool(
        re.fullmatch(r"(<span[^>]*>)?[-+−]?[\d,. ]*\d( ?(%|s|[kMGT]?B|h|min))?(</span>)?|–|", cell)
    )
