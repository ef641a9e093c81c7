"""The documentation, compared with the code that it describes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from sftplay.config import walk_settings
from sftplay.errors import EXIT_MEANINGS
from sftplay.host.cli.menu import MENU, namespace
from sftplay.host.dev import pages
from tests.host.conftest import CHECKOUT

PARTS = pages.parts(MENU, namespace)
PAGES = sorted([*CHECKOUT.glob("docs/*.md"), CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"])
FREE = ("benchmarks.md", "tasks.md")  # figures of other times; files that a task writes


def read(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PARTS)
def test_the_generated_parts_are_up_to_date(page: str) -> None:
    assert pages.fill(read(page), PARTS[page]) == read(page), "run: inv docs"


def test_the_page_of_tasks_has_every_task_and_each_of_its_options() -> None:
    words = [sys.executable, "-m", "invoke", "--list"]
    listed = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    names = set(
        re.findall(r"^  ([a-z][a-z0-9.-]*)(?: \(.*?\))?(?:  |$)", listed, flags=re.MULTILINE)
    )
    sections = re.split(r"^### `inv ([a-z0-9.-]+)", read("docs/tasks.md"), flags=re.MULTILINE)[1:]
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    assert set(found) == names
    for name in ("train", "quickstart", "check", "eval"):  # as Invoke prints them itself
        shown = subprocess.run(
            [sys.executable, "-m", "invoke", name, "--help"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", shown, flags=re.MULTILINE):
            assert option in found[name] or option.removeprefix("--").upper() in found[name], (
                name,
                option,
            )


def test_the_reference_has_every_key_and_the_codes_every_code() -> None:
    reference, codes = read("docs/config.md"), read("docs/troubleshooting.md")
    assert all(f"| `{path}` |" in reference for path, *_ in walk_settings())
    assert all(f"| {code} | {meaning} |" in codes for code, meaning in EXIT_MEANINGS.items())


@pytest.mark.parametrize("text", [pages.config_reference(), pages.task_reference(MENU, namespace)])
def test_tables_keep_their_shape_whatever_the_help_says(text: str) -> None:
    columns = 0
    for line in text.splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not columns or bars in (0, columns), line
        columns = bars


def test_missing_markers_are_named() -> None:
    with pytest.raises(KeyError, match="config"):
        pages.fill("# a page without parts\n", PARTS["docs/config.md"])


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    """Paths in backticks and in commands, below the folders that are in the repository."""
    for path in re.findall(
        r"(?<![\w./-])(?:sftplay|tests|configs|images|docs|bench|\.ci|\.github)/[\w./-]*\w/?(?![\w<…*])",
        page.read_text(encoding="utf-8"),
    ):
        if page.name not in FREE and "<" not in path:
            assert (CHECKOUT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_commands_that_a_page_shows_exist(page: Path) -> None:
    names = {*namespace.task_names, "runs"}
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in "\n".join(blocks).splitlines():
        for task in re.findall(r"(?:^|&& )(?:inv|python3 tasks\.py) ([a-z][\w.-]*)", line):
            assert task in names, line


def test_the_messages_that_troubleshooting_explains_are_printed_by_the_code() -> None:
    table = read("docs/troubleshooting.md").partition("## Messages")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]+)`", table, flags=re.MULTILINE)
    assert len(quoted) > 10
    assert [message for message in quoted if message not in texts()] == []


@cache
def texts() -> str:
    """Every string of the package, f-strings with their fields left out."""
    found: list[str] = []
    for path in (CHECKOUT / "sftplay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(one.value for one in node.values if isinstance(one, ast.Constant))
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_readme_is_a_first_page() -> None:
    assert len(read("README.md").splitlines()) <= 150
