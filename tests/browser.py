"""A real browser, headless: is a page without errors, and does it fit the screen? Skips where there
is no chromium.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)"
)
_FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *(
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ),
)
# The page in a frame as wide as a phone or a desktop, measured from outside: the page itself runs
# no script.
_MEASURE = """<!doctype html><body><script>
const widths = {widths}, found = [];
let open = widths.length;
for (const width of widths) {{
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${{width}}px;height:900px;border:0`;
  frame.onload = () => {{
    const page = frame.contentDocument, root = page.documentElement;
    const wide = [...page.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width + 1
      && !e.closest(".wide") && !e.closest("svg")).map(e => e.tagName + "." + e.className);
    const scrolled = [...page.querySelectorAll(".wide")].filter(e => e.scrollWidth > e.clientWidth + 1).length;
    const small = [...page.querySelectorAll("svg.chart")].filter(e => e.getBoundingClientRect().width < 200).length;
    found.push({{width, scroll: root.scrollWidth, wide: wide.slice(0, 5), scrolled, small, text: page.body.innerText.length,
      paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor, pictures: page.querySelectorAll("svg.chart").length,
      scripts: page.querySelectorAll("script").length}});
    if (--open === 0) {{ const out = document.createElement("pre"); out.id = "found"; out.textContent = JSON.stringify(found); document.body.append(out); }}
  }};
  frame.src = {page};
  document.body.append(frame);
}}
</script></body>"""


@dataclass(frozen=True)
class Look:
    """The page at one width.

    Attributes:
        wide: what is wider than the screen; scrolled: tables that scroll by themselves.
    """

    width: int
    scroll: int
    wide: list[str]
    scrolled: int
    small: int
    text: int
    paper: str
    pictures: int
    scripts: int


def look_at(
    page: Path, folder: Path, widths: Sequence[int] = (320, 390, 1280), *, dark: bool = False
) -> list[Look]:
    """Open `page` at each width; fails on any message in the browser's console.

    Args:
        folder: an empty place for the browser's own files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = folder / "frame.html"
    frame.write_text(
        _MEASURE.format(widths=json.dumps(list(widths)), page=json.dumps(page.absolute().as_uri()))
    )
    done = _run(
        folder,
        frame,
        "--allow-file-access-from-files",
        "--virtual-time-budget=20000",
        "--dump-dom",
        dark=dark,
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert not console, console
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return sorted(
        (Look(**one) for one in json.loads(html.unescape(found[1]))), key=lambda look: look.width
    )


def take_picture(
    page: Path, picture: Path, folder: Path, *, width: int, height: int, dark: bool = False
) -> None:
    """A screenshot as PNG."""
    _run(folder, page, f"--window-size={width},{height}", f"--screenshot={picture}", dark=dark)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def _run(folder: Path, page: Path, *flags: str, dark: bool) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    dark_flag = ["--force-dark-mode"] if dark else []
    command = [
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        *dark_flag,
        *flags,
    ]
    return subprocess.run(
        [*command, page.absolute().as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        errors="replace",
    )
