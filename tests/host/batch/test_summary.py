"""The table of a batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sftplay.files import write_json
from sftplay.host.batch import summary
from sftplay.host.batch.expand import Experiment, expand
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


TWO = """
{sort}
config: configs/base.yaml
datasets: {{easy: {{raw: data/raw}}, hard: {{raw: data/raw}}}}
experiments:
  - {{name: a, dataset: [easy, hard]}}
  - {{name: b, dataset: [easy, hard], set: {{train.learning_rate: 0.002}}}}
"""


def test_runs_are_ranked_within_their_dataset_by_the_gain_over_the_base(
    three: dict[str, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    """On other rows, the better figure means nothing; a fall is called one, and noise is called noise."""
    path = Path("configs/batch.yaml")
    path.write_text(TWO.format(sort="sort_by: rouge_l"))
    made = {one.name: one for one in expand(read(path), path)}
    for name, rouge, ends, rows in (
        ("a-easy", (60.0, 61.0), (-3.0, 5.0), 40),
        ("b-easy", (60.0, 70.0), (4.0, 16.0), 40),
        ("a-hard", (22.7, 15.7), (-12.0, -2.0), 40),
        ("b-hard", (22.7, 40.0), (9.0, 24.0), 3),
    ):
        write_eval(begun(made[name]), rows=rows, rouge_l=rouge, intervals={"rouge_l": ends})
    parsed = read(path)
    ranked = summary.rows_of(parsed, list(made.values()), {})
    assert [row.experiment.name for row in ranked] == ["b-easy", "a-easy", "b-hard", "a-hard"]
    _, cells, _ = summary.screen_table(ranked)
    shown = {cells[0]: cells for cells in cells}
    assert "60.0 → 70.0" in shown["b-easy"]
    assert "60.0 → 61.0 (within noise)" in shown["a-easy"]
    assert "22.7 → 15.7 (worse)" in shown["a-hard"]
    assert "22.7 → 40.0 (too few rows)" in shown["b-hard"]  # of 3 rows
    assert "3" in shown["b-hard"]
    summary.show(Path("outputs/batch-batch"), parsed, list(made.values()), {})
    said = capsys.readouterr().err
    assert "sorted by the gain in ROUGE-L over the base within each dataset" in said
    assert "best first" not in said
    written = list(csv.DictReader(Path("outputs/batch-batch/summary.csv").read_text().splitlines()))
    assert [written[0][key] for key in ("rows", "rouge_l_difference_low")] == ["40", "4.0"]


def test_without_a_key_the_val_loss_ranks(three: dict[str, Experiment]) -> None:
    path = Path("configs/batch.yaml")
    path.write_text(TWO.format(sort=""))
    made = expand(read(path), path)
    for number, one in enumerate(made):
        run = begun(one)
        write_json(run.record, {**json.loads(run.record.read_text()), "val_loss": 2.0 - number})
    ranked = summary.rows_of(read(path), made, {})
    assert [row.experiment.name for row in ranked] == ["b-easy", "a-easy", "b-hard", "a-hard"]
