"""Parts of a report that say where something is missing."""

from __future__ import annotations

import shutil

from sftplay.host.report import command as reports
from sftplay.host.runs.view import read_run as look_into
from sftplay.runs import Run
from tests.host.report.pages import Words, whole_run
from tests.host.runfolders import write_run


def test_a_run_without_eval_and_without_data_says_so() -> None:
    write_run("bare", finished=False)
    page = Words(reports.of_run(look_into(Run("bare"))))
    assert "Not evaluated yet: inv eval --run bare" in page.text
    assert "no data.json" in page.text
    assert "To continue: inv train --run bare --resume" in page.text


def test_what_is_left_of_a_broken_run_is_shown() -> None:
    run = whole_run()
    run.stamp.write_text("{")
    run.record.write_text("[]")
    run.data_record.write_text('{"report": [1], "lengths": "x", "stages": 3}')
    (run.eval("val") / "samples.jsonl").write_text('{"id": 1}\n{torn\n')
    run.attempts()[0].steps.write_bytes(b"\xff\xfe\n" + b'{"step": 1, "loss": 2.5}\n{"step"')
    run.events.write_text("?\n")
    page = Words(reports.of_run(look_into(run)))
    for words in (
        "Could not be read whole",
        "backend.json: not valid JSON",
        "2 torn lines in steps.jsonl",
        "2 torn lines in samples.jsonl",
    ):
        assert words in page.text, words
    shutil.rmtree(run.folder)
    run.folder.mkdir()
    assert "not begun" in Words(reports.of_run(look_into(run))).text
