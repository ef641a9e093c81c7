"""Pictures in a page."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from sftplay.page.chart_parts import HEIGHT, WIDTH
from sftplay.page.charts import Series, bars, histogram, line_chart


def _places(picture: str) -> list[tuple[float, float]]:
    pairs = re.findall(r'points="([^"]+)"', picture)
    return [
        (float(x), float(y))
        for line in pairs
        for x, y in (pair.split(",") for pair in line.split())
    ]


def _parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # every tag closed, every attribute quoted


def test_ten_thousand_points_stay_small_and_inside() -> None:
    points = [(float(step), math.sin(step) + 2) for step in range(10_000)]
    picture = line_chart("Loss", [Series("train", points)], y="loss", smooth=0.9)
    assert len(picture) < 40_000
    places = _places(picture)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    _parsed(picture)


def test_a_falling_curve_falls() -> None:
    places = _places(line_chart("Loss", [Series("train", [(0, 3.0), (10, 2.0), (20, 1.0)])]))
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)  # SVG counts downwards


def test_a_reader_who_does_not_see_it_hears_the_curve() -> None:
    root = _parsed(line_chart("Loss", [Series("train", [(1, 3.0), (10, 0.5), (20, 1.0)])]))
    svg = root.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert svg.findtext("title") == "Loss"
    assert svg.findtext("desc") == "train: 3 at step 1, 1 at step 20, lowest 0.5 at step 10"


def test_several_curves_differ_in_dashes_and_have_a_legend() -> None:
    names = [f"run <{place}>" for place in range(6)]
    picture = line_chart("Loss", [Series(name, [(0, 1.0), (1, 2.0)]) for name in names])
    root = _parsed(picture)
    assert ["".join(item.itertext()) for item in root.iter("li")] == names
    lines = [line for line in root.iter("polyline") if line.get("class", "").startswith("line")]
    assert len({line.get("stroke-dasharray") for line in lines}) == 6


def test_values_that_cannot_be_drawn_are_counted() -> None:
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 0.0), (4, 2.0)]
    assert "2 values could not be drawn" in line_chart("Loss", [Series("a", points)])
    assert "3 values could not be drawn" in line_chart("Loss", [Series("a", points)], log=True)


@pytest.mark.parametrize(
    "points", [[], [(0, math.nan)], [(5, 1.0)], [(0, 0.0), (1, 0.0)], [(0, 2.0), (1, 2.0)]]
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_curves_are_drawn_or_said_to_be_empty(
    points: list[tuple[float, float]], log: bool
) -> None:
    picture = line_chart("Loss", [Series("a", points), Series("none", [])], log=log)
    _parsed(picture)
    assert "nan" not in picture.replace("values", "")


def test_a_histogram_has_a_bar_for_each_bin_and_its_marks() -> None:
    counted = [(1, 2, 1), (2, 3, 2), (3, 8, 0), (8, 9, 1)]
    root = _parsed(histogram("Lengths", counted, x="tokens", marks=[(12, "limit")]))
    heights = [float(bar.get("height", "0")) for bar in root.iter("rect")]
    assert len(heights) == len(counted)
    assert max(heights) == heights[[count for *_, count in counted].index(2)]
    assert "limit" in "".join(root.itertext())


def test_bars_are_as_long_as_their_values() -> None:
    root = _parsed(
        bars(
            "ROUGE-L",
            [("base", 10.0), ("tuned", 40.0), ("bad", math.nan), ("worse", -5.0)],
            unit="%",
        )
    )
    widths = [float(bar.get("width", "0")) for bar in root.iter("rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    assert len(widths) == 3
    assert "40 %" in "".join(root.itertext())
    assert "Nothing to draw" in bars("none", [])
    assert "Nothing to draw" in histogram("none", [])
