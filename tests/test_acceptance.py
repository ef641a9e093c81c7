"""Results of `inv gpu.accept`: written and read, compared, shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sftplay import acceptance
from sftplay.acceptance import SPEED, Acceptance, AcceptanceRow, AcceptanceStep
from sftplay.errors import DataError, NotFoundError


def result(*rows: AcceptanceRow, **more: Any) -> Acceptance:
    step = AcceptanceStep("speed", "in turns", "passed", "", 3.0, rows)
    facts: dict[str, Any] = {"date": "2026-11-30T12:00:00+00:00", "machine": "NVIDIA X"}
    return Acceptance(device="cuda", stack="bnb", minutes=10, steps=(step,), **{**facts, **more})


def fast(speed: float, name: str = "ours") -> AcceptanceRow:
    return AcceptanceRow(name, "passed", values={SPEED: speed})


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = result(fast(100.0), versions={"torch": "2.13.0"}, facts={"gpus": 1})
    acceptance.write(tmp_path / "a.json", written)
    assert acceptance.read(tmp_path / "a.json") == written


@pytest.mark.parametrize("content", ["{}", '{"schema": 2}', '{"schema": 1, "steps": [{}]}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="not a result"):
        acceptance.read(tmp_path / "a.json")
    with pytest.raises(NotFoundError):
        acceptance.read(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("now", "worse"), [(100.0, False), (91.0, False), (89.0, True), (150.0, False)]
)
def test_more_than_a_tenth_of_the_speed_lost_is_worse(now: float, worse: bool) -> None:
    found = acceptance.compare(result(fast(100.0)), result(fast(now)))
    assert bool(found) is worse
    assert not worse or found == ["speed: ours: 89 tokens/s, -11% of 100"]


def test_a_failed_row_and_a_figure_that_is_gone_are_worse() -> None:
    failed = AcceptanceRow("merge", "failed", "no merged model")
    found = acceptance.compare(result(fast(100.0)), result(failed))
    assert found == ["speed: merge: no merged model", "speed: ours: has no tokens/s any more"]


def test_a_step_that_ended_badly_is_a_failure_without_rows() -> None:
    broken = AcceptanceStep("memory", "", "failed", "ended with 139")
    assert result().with_step(broken).failures() == ["memory: ended with 139"]


def test_only_an_earlier_result_of_the_same_machine_and_stack_is_compared_with(
    tmp_path: Path,
) -> None:
    new = result(date="2026-12-01T00:00:00+00:00")
    others = {
        "older": result(date="2026-10-01T00:00:00+00:00"),
        "newest": result(date="2026-11-01T00:00:00+00:00"),
        "later": result(date="2026-12-02T00:00:00+00:00"),
        "machine": result(machine="NVIDIA Y"),
        "stack": replace(result(), stack="unsloth"),
    }
    for name, value in others.items():
        acceptance.write(tmp_path / f"{name}.json", value)
    (tmp_path / "notes.json").write_text("[]")
    found = acceptance.comparable(acceptance.read_all(tmp_path), new)
    assert found == tmp_path / "newest.json"


def test_the_table_has_a_line_for_each_row_and_a_page_a_row_of_a_table() -> None:
    shown = result(fast(1234.5), AcceptanceRow("b|c", "skipped", "no <GPU>"), model="a Llama")
    text = "\n".join(acceptance.lines(shown))
    assert "passed  ours: tokens_per_second 1234" in text or "1235" in text
    assert "skipped b|c (no <GPU>)" in text
    page = acceptance.markdown(shown)
    assert "| speed | b\\|c | skipped | (no &lt;GPU>) |" in page.replace(
        "skipped |  (", "skipped | ("
    )


def test_the_file_holds_no_name_of_the_machine_in_the_network(tmp_path: Path) -> None:
    import socket

    acceptance.write(tmp_path / "a.json", result(fast(1.0)))
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text)["schema"] == 1 and socket.gethostname() not in text
