"""Three experiments in an empty project, for the tests of batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.config import dump_config
from sftplay.host.batch.expand import Experiment, expand
from sftplay.host.batch.file import read
from sftplay.runs import Run
from tests.host.runfolders import write_run

FILE = """
sort_by: {sort}
config: configs/base.yaml
datasets: {{rows: {{raw: data/raw}}}}
experiments:
  - {{name: a, dataset: rows, set: {{train.learning_rate: 0.001}}}}
  - {{name: b, dataset: rows, set: {{train.learning_rate: 0.002}}}}
  - {{name: c, dataset: rows, set: {{train.learning_rate: 0.003}}}}
"""


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Experiment]:
    """Three experiments in an empty project."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.jsonl").write_text('{"user": "a", "assistant": "b"}\n')
    Path("configs/base.yaml").write_text("model: {name: smollm2-135m-instruct}\n")
    path = Path("configs/batch.yaml")
    path.write_text(FILE.format(sort="rouge_l"))
    return {one.name: one for one in expand(read(path), path)}


def begun(experiment: Experiment, *, finished: bool = True) -> Run:
    """Its run folder, with its own config."""
    run = write_run(experiment.name, finished=finished)
    run.config.write_text(dump_config(experiment.settings))
    return run
