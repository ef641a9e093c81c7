"""The ranks in a run's report: as their own files have it, and safe where these were forged."""

from __future__ import annotations

from sftplay.files import write_json
from sftplay.host.report import command
from sftplay.host.runs.view import read_run
from sftplay.ranks import RankRecord, RanksPlan, record_file, write_plan, write_record
from sftplay.runs import Run
from tests.host.runfolders import write_run


def _page(run: Run) -> str:
    return command.of_run(read_run(run))


def test_each_rank_has_a_row() -> None:
    run = write_run("two")
    assert "Ranks" not in _page(run)
    attempt = run.attempts()[0]
    write_json(attempt.progress, {"step": 7, "steps": 20, "rank_seconds": [0.25, 0.5]})
    plan = RanksPlan("n", attempt.name, 2, 1, 2, "none", "sha256:0")
    write_plan(attempt.ranks, plan)
    write_record(attempt.ranks, RankRecord("n", 0, 0, 69, 7, 0.0, "peer", message="another <rank>"))
    write_record(attempt.ranks, RankRecord("older", 1, 1, 0, 20, 0.0, "own"))
    page = _page(run)
    assert "69: another &lt;rank&gt;" in page and "left no record" in page
    assert "0.250" in page and "0.500" in page


def test_a_forged_record_or_plan_stops_no_report() -> None:
    run = write_run("forged")
    attempt = run.attempts()[0]
    plan = RanksPlan("n", attempt.name, 1, 2, 2, "none", "sha256:0")
    write_plan(attempt.ranks, plan)
    write_json(
        record_file(attempt.ranks, 1),
        {**vars(RankRecord("n", 1, 0, 0, 1, 0.0, "own")), "code": [1], "step": {"<blink>": 1}},
    )
    assert "<blink>" not in _page(run)
    write_json(attempt.ranks / "plan.json", {"world_size": 10**12, "processes": "x"})
    assert "no usable plan" in _page(run)
