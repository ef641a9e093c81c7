import os
from pathlib import Path

import pytest

from sftplay.freshness import DataStamp
from sftplay.host.estimate import check
from sftplay.host.quickstart import sample_data
from sftplay.host.system.machine import read_machine
from tests.host.estimate.project import write_config

pytestmark = pytest.mark.usefixtures("tiny_project")


def test_a_run_that_fits_is_told_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.check() == 0
    said = capsys.readouterr().err
    for part in (
        "the CPU",
        "about 216 to train on",
        "10 of 4 rows",
        "memory   about",
        "disk     about",
        "time     about",
    ):
        assert part in said
    assert "ready to train: inv train --config configs/run_bnb.yaml" in said


def test_everything_wrong_is_said_at_once_and_the_first_to_mend_gives_the_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample_data.FILE.unlink()
    Path("outputs/run_bnb").mkdir(parents=True)
    Path("outputs/run_bnb/backend.json").write_text("{}")
    write_config("model: {name: ./nowhere}\ntrain: {device: cpu}\n")
    assert check.check() == 65
    said = capsys.readouterr().err
    assert "data/raw: no data there" in said and "nowhere: no model there" in said
    assert "already exists" in said and "--run run_bnb-2" in said


def test_a_broken_config_does_not_hide_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    sample_data.FILE.unlink()
    write_config("train: {epochz: 1}\n")
    assert check.check() == 78
    said = capsys.readouterr().err
    assert (
        "did you mean `epochs`" in said and "no data there" in said and "for the defaults" in said
    )


@pytest.mark.skipif(read_machine().has_gpu, reason="this machine has a GPU")
def test_a_gpu_that_was_asked_for_and_is_not_there_is_the_machines_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check.check(overrides=["train.device=cuda"]) == 69
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_refused_with_a_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check.check(overrides=["model.name=some/model-700B", "train.method=full"]) == 69
    said = capsys.readouterr().err
    assert "too little memory" in said and "too little disk" in said and "days" in said


def test_an_unknown_size_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.check(overrides=["model.name=some/model"]) == 0
    assert "size unknown until it is fetched" in capsys.readouterr().err


def test_nothing_is_written() -> None:
    before = sorted(os.walk("."))
    check.check()
    assert sorted(os.walk(".")) == before


def test_rows_that_were_tokenized_before_the_data_changed_are_said_to_be_old(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokens = {
        "rows": {"train": 9},
        "tokens": {"train": 90},
        "trained_tokens": {"train": 40},
        "max_tokens": 20,
    }
    DataStamp("process", "raw", {}, output="new").write(_folder("processed"))
    DataStamp("render", "old", {}, output="pairs", facts={"from": "processed"}).write(
        _folder("rendered")
    )
    DataStamp("tokenize", "x", {}, facts={**tokens, "rendered": "pairs"}).write(
        _folder("tokenized")
    )
    assert check.check() == 0
    said = capsys.readouterr().err
    assert "data/rendered was made before data/processed changed: inv render" in said
    assert said.index("was made before") < said.index("9 to train on")


def _folder(kind: str) -> Path:
    folder = Path("data", kind)
    folder.mkdir(parents=True)
    return folder


def test_a_hub_dataset_that_is_not_here_yet_is_no_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check.check(overrides=["data.raw=someone/something"]) == 0
    assert "not known until the data is here" in capsys.readouterr().err


def test_files_that_are_no_data_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    sample_data.FILE.rename("data/raw/notes.txt")
    assert check.check() == 65
