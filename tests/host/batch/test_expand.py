"""Experiments of a batch file: what a matrix makes, and the folders that they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.batch.expand import expand
from sftplay.host.batch.file import read
from tests.host.batch.batchfile import GOOD, write

pytestmark = pytest.mark.usefixtures("base_configs")


def test_a_matrix_is_multiplied_out_with_datasets() -> None:
    path = write(GOOD)
    made = {one.name: one for one in expand(read(path), path)}
    assert len(made) == 9
    one = made["grid-two-r16-learning_rate0.0002"]
    assert (
        one.settings.lora.r,
        one.settings.train.learning_rate,
        one.settings.train.max_steps,
    ) == (16, 2e-4, 10)
    assert one.settings.run.name == one.name
    assert one.settings.data.raw == ["a.jsonl", "b.jsonl"]
    assert (one.settings.style.prompt, one.settings.style.mode) == (
        "Be brief: 'yes' or \"no\"",
        "replace",
    )
    assert one.settings.data.fields is not None and one.settings.data.fields.user == "Frage"
    assert one.changes == {"dataset": "two", "lora.r": 16, "train.learning_rate": 2e-4}
    assert made["grid-one-r8-learning_rate0.0001"].settings.style.prompt is None
    assert made["single"].base == "configs/other.yaml"


def test_a_dataset_is_what_its_entry_says_whatever_the_base_mixes() -> None:
    Path("configs/mixed.yaml").write_text("data: {mix: {base.csv: 3, other.csv: 1}}\n")
    path = write(
        "config: configs/mixed.yaml\n"
        "datasets:\n"
        "  plain: {raw: data/raw}\n"
        "  mixed: {mix: {a.csv: 2, b.csv: 1}}\n"
        "experiments:\n"
        "  - {name: n, dataset: [plain, mixed]}\n"
        "  - {name: own, dataset: mixed, set: {data.mix: {a.csv: 1, b.csv: 1}}}\n"
        "  - {name: many, dataset: plain, matrix: {data.mix: [{c.csv: 1}, {d.csv: 1}]}}\n"
    )
    made = {one.name: one.settings.data for one in expand(read(path), path)}
    assert (made["n-plain"].sources, made["n-plain"].mix) == (["data/raw"], None)
    assert made["n-mixed"].mix == {"a.csv": 2, "b.csv": 1}
    assert made["own"].mix == {"a.csv": 1, "b.csv": 1}
    assert made["own"].suffix != made["n-mixed"].suffix
    assert sorted(one.sources[0] for name, one in made.items() if name.startswith("many")) == [
        "c.csv",
        "d.csv",
    ]


def test_rows_of_another_shape_get_folders_of_their_own() -> None:
    path = write(GOOD + "  - {name: longer, dataset: two, set: {model.max_length: 2048}}\n")
    suffixes = {one.name: one.settings.data.suffix for one in expand(read(path), path)}
    assert suffixes["single"] == "two"
    assert suffixes["longer"] == "two-longer"


def test_long_names_are_cut_and_stay_apart() -> None:
    keys = "train.gradient_accumulation_steps: [1, 2], train.early_stopping_patience: [null], train.weight_decay: [0.01, 0.02]"
    path = write(
        f"datasets: {{a: {{raw: x}}}}\nexperiments:\n  - {{name: {'n' * 40}, dataset: a, matrix: {{{keys}}}}}\n"
    )
    names = [one.name for one in expand(read(path), path)]
    assert len(set(names)) == 4
    assert all(len(name) <= 63 for name in names)
