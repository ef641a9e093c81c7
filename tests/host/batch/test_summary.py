"""The table of a batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sftplay.files import write_json
from sftplay.host.batch import summary
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.file import read
from tests.host.experiments import FILE, begun
from tests.host.runfolders import write_eval


def test_the_table_is_sorted_by_the_metric_of_the_file(
    three: dict[str, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rouge, loss in (("a", 10.0, 1.0), ("b", 30.0, 2.0)):
        run = begun(three[name])
        write_eval(run)
        record = json.loads((run.eval("val") / "metrics.json").read_text())
        record["metrics"]["rouge_l"]["tuned"], record["metrics"]["loss"]["tuned"] = rouge, loss
        write_json(run.eval("val") / "metrics.json", record)
    for sort, order in (
        ("rouge_l", ["b", "a", "c"]),
        ("loss", ["a", "b", "c"]),
        ("name", ["a", "b", "c"]),
    ):
        Path("configs/batch.yaml").write_text(FILE.format(sort=sort))
        parsed = read(Path("configs/batch.yaml"))
        rows = summary.rows_of(parsed, list(three.values()), {})
        assert [row.experiment.name for row in rows] == order
    summary.show(
        Path("outputs/batch-batch"), parsed, list(three.values()), {"c": "train ended with 80"}
    )
    written = list(csv.DictReader(Path("outputs/batch-batch/summary.csv").read_text().splitlines()))
    assert [(row["experiment"], row["rouge_l_tuned"], row["outcome"]) for row in written] == [
        *(("a", "10.0", ""), ("b", "30.0", ""), ("c", "", "train ended with 80"))
    ]
    assert "| a | rows |" in Path("outputs/batch-batch/summary.md").read_text()
    assert "12.5 → 30.0" in capsys.readouterr().out
