"""Batch files: the template, what a matrix makes, and every kind of mistake."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sftplay.errors import ConfigError, UsageError
from sftplay.host.batch import command as batches
from sftplay.host.batch.expand import expand
from sftplay.host.batch.file import read, write_template
from tests.host.batch.batchfile import GOOD, write

pytestmark = pytest.mark.usefixtures("base_configs")


def problems(text: str) -> str:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        expand(read(path), path)
    assert caught.value.code == 78
    return caught.value.what


def test_the_template_is_a_batch_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert batches.run() == 0
    path = Path("configs/batch.yaml")
    assert "edit configs/batch.yaml" in capsys.readouterr().err
    made = expand(read(path), path)
    assert [one.name for one in made] == [
        "first",
        "rank-plain-r8",
        "rank-plain-r16",
        "rank-brief-r8",
        "rank-brief-r16",
    ]
    assert path.read_text().startswith("# python3 tasks.py batch --file configs/batch.yaml\n")
    before = path.read_bytes()
    assert batches.run(dry_run=True) == 0
    assert path.read_bytes() == before
    out = capsys.readouterr().out
    assert "first: train (not begun)" in out
    assert "data plain: make: data/processed_plain is not made yet" in out
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD.replace("dataset: two", "dataset: three"),
            "single names the dataset 'three'; there are one, two",
        ),
        (GOOD.replace("name: single", "name: grid"), "grid is there 2 times"),
        (
            GOOD.replace('style: "Be brief: \'yes\' or \\"no\\""', "style: '  '"),
            "datasets.two.style is empty",
        ),
        (GOOD.replace("lora.r: [8, 16]", "lora.r: []"), "experiments.0.matrix.lora.r"),
        (GOOD.replace("lora.r: [8, 16]", "lora.rank: [8, 16]"), "lora.rank"),
        (
            GOOD.replace("lora.r: [8, 16]", "lora.r: [8, 8]"),
            "two experiments would be called grid-one-r8",
        ),
        (GOOD.replace("max_steps: 10", "max_steps: none"), "train.max_steps"),
        (GOOD.replace("configs/other.yaml", "configs/gone.yaml"), "single: no such file"),
        (
            GOOD.replace("set: {train.max_steps: 10}", "set: {lora.r: 4}"),
            "lora.r under set and under matrix",
        ),
        (GOOD.replace("dataset: two", "dataset: []"), "single names no dataset"),
        (GOOD.replace("  two:", "  Two Words:").replace("two", "Two Words"), "names folders"),
        ("sort_by: luck\n" + GOOD, "line 1: sort_by"),
        ("colour: blue\n" + GOOD, "line 1: colour: unknown key"),
        ("datasets: {}\nexperiments: []\n", "2 problems"),
        (GOOD.replace("raw: data/raw/a.jsonl", ""), "datasets.one names no rows"),
        (GOOD.replace("/a.jsonl}", "/a.jsonl, mix: {a: 1}}"), "datasets.one has raw and mix"),
        (GOOD.replace("raw: data/raw/a.jsonl", "mix: {a.csv: x}"), "data.mix: a.csv: a weight is"),
        ("datasets: [\n", ""),
    ],
)
def test_mistakes_are_named_before_anything_is_written(text: str, said: str) -> None:
    assert said in problems(text)
    assert not Path("outputs").exists()


def test_a_thousand_experiments_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = list(range(1, 1001))
    path = write(
        f"datasets: {{a: {{raw: x}}}}\nexperiments:\n  - {{name: n, dataset: a, matrix: {{train.seed: {numbers}}}}}\n"
    )
    with pytest.raises(UsageError, match="1,000 experiments: nothing was started"):
        batches.run(str(path))
    assert not Path("outputs").exists()


def test_a_template_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    write_template(Path("mine.yaml"))
    Path("mine.yaml").write_text("datasets: 3\n")
    with pytest.raises(ConfigError):
        batches.run("mine.yaml")
    assert Path("mine.yaml").read_text() == "datasets: 3\n"


def test_a_matrix_has_a_limit_and_answers_at_once() -> None:
    values = ", ".join(map(str, range(1, 61)))
    keys = ("lora.r", "train.batch_size", "train.max_steps", "train.save_steps")
    matrix = ", ".join(f"{key}: [{values}]" for key in keys)
    text = "datasets: {one: {raw: data/raw}}\nexperiments:\n  - {name: grid, dataset: one, matrix: {%s}}\n"
    began = time.process_time()
    assert "12,960,000 experiments, and 1,000 are the most" in problems(text % matrix)
    most = f"lora.r: [{', '.join(map(str, range(1, 11)))}], train.batch_size: [{', '.join(map(str, range(1, 101)))}]"
    path = write(text % most)
    assert len(expand(read(path), path)) == 1000
    assert time.process_time() - began < 1.5
