"""The parts of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.page import html
from sftplay.page.style import LINES_DARK, LINES_LIGHT
from tests.browser import look_at, needs_browser

EVIL = '</pre><script>alert("1")</script><img src=x onerror=alert(2)> & \x1b[31m'
VOID = {"meta", "link"}


class Outline(HTMLParser):
    """Every tag that is opened, and whether each was closed in turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def _every_part(words: str) -> str:
    return html.page(
        words,
        html.notice("bad", words),
        html.tiles([(words, words, words)]),
        html.section(words, html.paragraph(words), html.preformatted(words), html.bullets([words])),
        html.section(
            "b",
            html.table([words, "n"], [[words, "1,234"]], caption=words),
            html.facts([(words, words)]),
        ),
        html.section(
            "c",
            html.side_by_side(words, html.heading(words)),
            html.details(words, html.code(words)),
        ),
        html.mark("good", words),
        lead=words,
        footer=words,
    )


@given(st.text() | st.just(EVIL))
def test_no_text_becomes_a_tag(words: str) -> None:
    with_words, plain = Outline(_every_part("x" + words)), Outline(_every_part("x"))
    assert with_words.tags == plain.tags
    assert with_words.open == []


def test_text_is_shown_as_it_is() -> None:
    assert EVIL.replace("\x1b", "�") in Outline(html.page("t", html.preformatted(EVIL))).words
    assert html.text("lone \ud800") == "lone ?"


def test_a_page_needs_nothing_but_itself() -> None:
    page = _every_part("x")
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_columns_of_numbers_stand_right() -> None:
    table = html.table(
        ["metric", "loss", "note"], [["a", "1.25", "x"], ["b", html.mark("good", "−0.5"), "2"]]
    )
    assert table.count('class="number"') == 3  # the head and two cells of the second column
    assert '<th scope="row">a</th>' in table


def test_sections_are_linked_where_there_are_several() -> None:
    assert '<a href="#eval-results">Eval results</a>' in html.page(
        "t", *(html.section(n) for n in ("Eval results", "B", "C"))
    )
    assert "<nav" not in html.page("t", html.section("A"))


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("paper", "lines"), [("#ffffff", LINES_LIGHT), ("#14181c", LINES_DARK)])
def test_lines_stand_out_from_the_paper(paper: str, lines: tuple[str, ...]) -> None:
    """Three to one, as WCAG 2.2 asks of graphics (success criterion 1.4.11)."""
    for colour in lines:
        high, low = sorted((_luminance(colour), _luminance(paper)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, colour


@needs_browser
def test_every_part_fits_a_phone_and_a_desktop(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(_every_part("a word " * 40 + "averylongword" * 30), encoding="utf-8")
    for dark in (False, True):
        for look in look_at(page, tmp_path / f"browser-{dark}", dark=dark):
            assert look.scroll <= look.width
            assert look.wide == []
            assert look.paper == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")
