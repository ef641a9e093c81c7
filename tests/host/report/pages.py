"""Text of a report's page, and a run with everything that a report shows."""

from __future__ import annotations

from html.parser import HTMLParser

from sftplay.runs import Run
from tests.host.runfolders import write_data, write_eval, write_run


class Words(HTMLParser):
    """Text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def whole_run(name: str = "demo", **given: object) -> Run:
    run = write_run(name, **given)  # type: ignore[arg-type]
    write_eval(run)
    write_eval(run, "test")
    write_data(run)
    return run
