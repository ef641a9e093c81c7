"""The figures of the code: a cycle is found and named, a file counts as tested only by its own
name.
"""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch", reason="bench runs in the dev environment")

from bench import house
from sftplay import __version__


def test_a_cycle_is_found_and_an_acyclic_graph_has_none() -> None:
    assert house._cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == "none"
    assert set(house._cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}).split(" → ")) == {"a", "b", "c"}


def test_the_part_of_a_package_that_a_module_belongs_to() -> None:
    assert house._child("sftplay.host", "sftplay.host.runs.view") == "runs"
    assert house._child("sftplay.host", "sftplay.errors") == ""
    assert house._child("sftplay", "sftplay.host.runs.view") == "host"


def test_every_module_is_in_one_layer_and_counted_once() -> None:
    rows = {name: str(value) for name, value, _ in house._package(names=False)}
    layers = [
        int(value.split(",")[0])
        for name, value in rows.items()
        if name.endswith(": modules, lines")
    ]
    assert sum(layers) == int(rows["all modules, lines"].split(",")[0]) == len(house.modules())


def test_a_stated_test_exists_and_is_needed() -> None:
    names = {path.name for path in (house.ROOT / "tests").rglob("test_*.py")}
    for module, test in house.TESTED_BY.items():
        path = house.PACKAGE / module
        assert path.is_file() and (house.ROOT / test).is_file(), module
        assert f"test_{path.name}" not in names, f"{module} has a test of its name now"


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    """A released version has its date there, the next one "unreleased"."""
    text = (house.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert found and found[1] == __version__
