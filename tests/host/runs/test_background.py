"""Pages in the background: only the one that was started counts as started."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftplay.errors import BusyError, MachineError
from sftplay.host.runs.background import BackgroundPage

PAGE = BackgroundPage("A page", "a-page", "stop-a-page")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else answers."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_another_server_that_was_faster_is_not_taken_for_ours(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outputs").mkdir()
    late = [sys.executable, "-c", "import time; time.sleep(1); raise SystemExit('port in use')"]
    with pytest.raises(MachineError, match="A page ended with 1\nport in use"):
        PAGE.launch(late, {}, "outputs", taken)
    assert PAGE.ours() is None and not PAGE.record.exists()


@pytest.mark.parametrize(("folder", "port"), [("outputs/mine", None), ("outputs", 7002)])
def test_a_page_of_something_else_is_not_what_was_asked_for(folder: str, port: int | None) -> None:
    PAGE.report_running("outputs", 7001, "outputs", None)
    PAGE.report_running("outputs", 7001, "outputs", 7001)
    with pytest.raises(BusyError, match=r"7001; it is not started for") as busy:
        PAGE.report_running("outputs", 7001, folder, port)
    assert busy.value.code == 75 and "inv stop-a-page" in busy.value.todo
