"""Parts of a report that say where something is missing."""

from __future__ import annotations

import json
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


def test_the_shares_of_a_mix_are_shown() -> None:
    run = whole_run()
    record = json.loads(run.data_record.read_text())
    one = {
        "rows": {"train": 1234, "val": 5, "test": 6},
        "asked": 0.75,
        "shares": {"train": 0.745, "test": 1e-5},
        "exhausted_in": ["val"],
    }
    record["raw"] = {"a.jsonl": 3.0, "owner/name": 1, "all": 1000000}
    record["report"]["mix"] = {"sources": [{"source": "a.jsonl", **one}, {"rows": 1}, "torn"]}
    run.data_record.write_text(json.dumps(record))
    page = Words(reports.of_run(look_into(run))).text
    for words in (
        "share asked",
        "1,234",
        "75.0%",
        "1,234 (74.5%)",
        "6 (<0.1%)",
        "all rows used in",
        "a.jsonl: 3, owner/name: 1, all: 1000000",
    ):
        assert words in page, words


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
