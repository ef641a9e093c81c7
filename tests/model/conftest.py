"""Shared fixtures of the model tests: projects with data for the tiny model, tokenized or trained
once for the whole session.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.box import Box

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # models of two layers: more threads only wait for each other


def _write_project(folder: Path, count: int, config: dict[str, Any]) -> Path:
    """A project folder with raw rows and demo.yaml."""
    (folder / "data" / "raw").mkdir(parents=True)
    chance = random.Random(5)
    rows = [
        {
            "user": f"How many clips are {i} and {i * 7}?"
            + " Please tell me." * chance.randint(0, 3),
            "assistant": f"She sold {i * 8} clips" + " in May" * chance.randint(0, 6) + ".",
        }
        for i in range(count)
    ]
    (folder / "data" / "raw" / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    (folder / "demo.yaml").write_text(yaml.safe_dump(config))
    return folder


def _run_stages(box: Box, folder: Path, *stages: str) -> None:
    for stage in stages:
        ran = box.run(stage, "--config", "demo.yaml", cwd=folder)
        assert ran.code == 0, ran.err


@pytest.fixture(scope="session")
def tokenized_project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project with tokenized data for the tiny model, and a short training in demo.yaml.

    Tests take `project`.
    """
    config = {
        "model": {"name": str(tiny_model), "max_length": 256},
        "data": {"val_share": 0.1, "test_share": 0.1},
        "train": {
            "method": "lora",
            "max_steps": 8,
            "save_steps": 2,
            "batch_size": 2,
            "learning_rate": 0.01,
            "logging_steps": 1,
            "precision": "fp32",
        },
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
    }
    folder = _write_project(tmp_path_factory.mktemp("tokenized") / "project", 60, config)
    _run_stages(box, folder, "process", "render", "tokenize")
    return folder


@pytest.fixture
def project(tokenized_project: Path, tmp_path: Path) -> Path:
    """A copy of the tokenized project."""
    shutil.copytree(tokenized_project, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project with data for the tiny model and a trained LoRA run, `demo`.

    Not to be changed: tests take `trained`.
    """
    config = {
        "model": {"name": str(tiny_model), "max_length": 256},
        "data": {"val_share": 0.15, "test_share": 0.1},
        "train": {
            "method": "lora",
            "max_steps": 20,
            "batch_size": 4,
            "learning_rate": 0.01,
            "precision": "fp32",
        },
        "lora": {"r": 4, "alpha": 8},
        "eval": {"max_new_tokens": 24},
        "infer": {"max_new_tokens": 24},
    }
    folder = _write_project(tmp_path_factory.mktemp("trained") / "project", 80, config)
    _run_stages(box, folder, "process", "train")
    return folder


@pytest.fixture
def trained(trained_project: Path, tmp_path: Path) -> Path:
    """A copy of the trained project."""
    shutil.copytree(trained_project, tmp_path / "project")
    return tmp_path / "project"
