"""Answers during training, in a report."""

from __future__ import annotations

import json
from typing import Any

from sftplay.host.report import command as reports
from sftplay.host.runs.view import read_run as look_into
from tests.host.report.pages import Words
from tests.host.runfolders import write_run


def _look(step: int, *answers: str) -> str:
    samples: list[dict[str, Any]] = [
        {
            "id": str(n),
            "prompt": f"question {n}",
            "reference": f"wanted {n}",
            "answer": text,
            "ended": True,
        }
        for n, text in enumerate(answers, 1)
    ]
    return json.dumps({"step": step, "samples": samples})


def test_the_last_line_of_a_step_counts_and_torn_ones_do_not() -> None:
    run = write_run("shown")
    lines = [
        _look(5, "early", "soon"),
        _look(10, "lost", "gone"),
        "{torn",
        _look(10, "<b>late", "end"),
    ]
    run.attempts()[0].samples.write_text("\n".join(lines) + "\n")
    page = Words(reports.of_run(look_into(run))).text
    for word in ("Answers during training", "question 1", "wanted 2", "early", "<b>late", "end"):
        assert word in page, word
    assert "lost" not in page
    assert (
        "Answers during training" not in Words(reports.of_run(look_into(write_run("other")))).text
    )
