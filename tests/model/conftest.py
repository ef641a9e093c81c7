"""Shared fixtures of the model tests: projects with data for the tiny model, tokenized or trained
once for the whole session.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.box import Box
from tests.model.projects import run_stages, write_project

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # models of two layers: more threads only wait for each other


def _rows(count: int) -> list[dict[str, str]]:
    chance = random.Random(5)
    return [
        {
            "user": f"How many clips are {i} and {i * 7}?"
            + " Please tell me." * chance.randint(0, 3),
            "assistant": f"She sold {i * 8} clips" + " in May" * chance.randint(0, 6) + ".",
        }
        for i in range(count)
    ]


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
    folder = tmp_path_factory.mktemp("tokenized") / "project"
    write_project(folder, _rows(60), config)
    run_stages(box, folder, "process", "render", "tokenize")
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
    folder = tmp_path_factory.mktemp("trained") / "project"
    write_project(folder, _rows(80), config)
    run_stages(box, folder, "process", "train")
    return folder


@pytest.fixture
def trained(trained_project: Path, tmp_path: Path) -> Path:
    """A copy of the trained project."""
    shutil.copytree(trained_project, tmp_path / "project")
    return tmp_path / "project"
