"""`inv docs`: the site builds strictly, asks nobody, and a broken link is found."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.cli.menu import MENU, namespace
from sftplay.host.dev import docs
from tests.browser import look_at, needs_browser
from tests.host.conftest import CHECKOUT

mkdocs = pytest.importorskip("mkdocs", reason="MkDocs is in the dev environment")
_SOURCES = ("docs", "mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md")


class Loads(HTMLParser):
    """Files that a page loads when it is opened: scripts, styles, pictures; not those that it links
    to.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = (
            given.get("href")
            if tag == "link" and given.get("rel") != "canonical"
            else given.get("src")
        )
        if address and tag != "a":
            self.found.append(address)


def build(project: Path) -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(project / "site"),
    ]
    return subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in _SOURCES:
        source = CHECKOUT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def test_the_site_builds_and_loads_nothing_from_elsewhere(project: Path) -> None:
    done = build(project)
    assert done.returncode == 0, done.stderr
    made = sorted((project / "site").rglob("*.html"))
    assert len(made) >= len(list((CHECKOUT / "docs").glob("*.md")))
    for page in made:
        loads = Loads(page.read_text(encoding="utf-8")).found
        assert any(address.endswith(".css") for address in loads), page
        elsewhere = [address for address in loads if re.match(r"(\w+:)?//", address)]
        assert elsewhere == [], page
    for style in (project / "site").rglob("*.css"):
        assert not re.search(
            r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")
        ), style


@pytest.mark.parametrize("broken", ["[gone](nowhere.md)", "[gone](data.md#nowhere)"])
def test_a_broken_link_fails_the_build(project: Path, broken: str) -> None:
    page = project / "docs" / "runs.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{broken}\n", encoding="utf-8")
    done = build(project)
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_git_ignores_the_site() -> None:
    words = ["git", "check-ignore", "--quiet", docs.SITE]
    assert subprocess.run(words, cwd=CHECKOUT, check=False).returncode == 0


def test_a_port_that_is_in_use_is_named_before_anything_is_built() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match=f"port {port} is in use"):
            docs.run(MENU, namespace, port=port)


@needs_browser
def test_pages_fit_a_phone_and_a_desktop(project: Path, tmp_path: Path) -> None:
    """Wide tables and code scroll inside themselves; the page itself never scrolls sideways."""
    assert build(project).returncode == 0
    for name in ("index", "tasks", "config", "architecture", "benchmarks"):
        page = project / "site" / f"{name}.html"
        page.write_text(
            re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        )
        for look in look_at(page, tmp_path / name, (390, 1280)):
            assert look.scroll <= look.width, (name, look)
            assert look.text > 500
