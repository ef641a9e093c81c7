"""Bad input around a run, through the real command: one message, the right code, nothing
half-written.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box, wait_for


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A project without data."""
    (tmp_path / "demo.yaml").write_text("model: {name: smollm2-135m-instruct}\n")
    return tmp_path


def _left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_three_mistakes_write_nothing(empty: Path, box: Box) -> None:
    (empty / "demo.yaml").write_text("train: {lr: 1, batch_size: 0}\nmodle: {}\n")
    ran = box.run("train", "--config", "demo.yaml", cwd=empty)
    assert ran.code == 78
    assert "3 problems" in ran.err and "did you mean `model`?" in ran.err
    assert _left(empty) == ["demo.yaml"]


@pytest.mark.parametrize("name", ["a/b", "../x", "/abs", "", "..", "x" * 300, "-rf", "Ünï"])
@pytest.mark.parametrize("stage", ["train", "eval", "infer", "merge"])
def test_a_run_name_is_never_a_path(empty: Path, box: Box, stage: str, name: str) -> None:
    ran = box.run(stage, "--config", "demo.yaml", f"--run={name}", cwd=empty)
    assert ran.code == 78, ran.err
    assert "--run " in ran.err
    assert _left(empty) == ["demo.yaml"]


@pytest.mark.parametrize("stage", ["eval", "merge", "infer"])
def test_before_training(empty: Path, box: Box, stage: str) -> None:
    ran = box.run(
        stage, "--config", "demo.yaml", *(["--prompt", "Hi"] if stage == "infer" else []), cwd=empty
    )
    assert ran.code == 66
    assert "train it first" in ran.err


def test_a_model_that_does_not_exist_without_network(empty: Path, box: Box) -> None:
    ran = box.run(
        "fetch",
        "--config",
        "demo.yaml",
        "--set",
        "model.name=nobody/nothing-7b",
        cwd=empty,
        SFTPLAY_CACHE=str(empty / "cache"),
    )
    assert ran.code == 69
    assert "nobody/nothing-7b" in ran.err and "network" in ran.err


@pytest.mark.parametrize("name", ["./no-such-folder", "no such/model/name"])
def test_a_model_name_that_is_neither_folder_nor_hub_id(empty: Path, box: Box, name: str) -> None:
    ran = box.run(
        "fetch",
        "--config",
        "demo.yaml",
        "--set",
        f"model.name={name}",
        cwd=empty,
        SFTPLAY_CACHE=str(empty / "cache"),
    )
    assert ran.code == 66, ran.err
    assert "model.name" in ran.err


def test_a_model_that_was_never_fetched(empty: Path, box: Box) -> None:
    ran = box.run("train", "--config", "demo.yaml", cwd=empty, SFTPLAY_CACHE=str(empty / "cache"))
    assert ran.code == 66
    assert "inv fetch" in ran.err
    assert not (empty / "outputs" / "demo" / "attempts").exists()


def test_training_without_data(empty: Path, box: Box, tiny_model: Path) -> None:
    ran = box.run("train", "--config", "demo.yaml", "--set", f"model.name={tiny_model}", cwd=empty)
    assert ran.code in (65, 66)
    assert "data/raw" in ran.err
    assert not (empty / "outputs" / "demo" / "attempts").exists()


@pytest.fixture
def tiny_disk(project: Path) -> Iterator[Path]:
    """outputs/ on a file system of 400 kB."""
    disk = project / "outputs"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_while_saving_keeps_the_last_checkpoint(
    project: Path, box: Box, tiny_disk: Path
) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "train.save_total_limit=9", cwd=project
    )
    assert ran.code == 74, ran.err
    assert "disk is full" in ran.err
    from sftplay.manifest import problem_with

    kept = list((tiny_disk / "demo/attempts/01-bnb/checkpoints").glob("checkpoint-*"))
    assert kept and all(problem_with(path) is None for path in kept)
    assert not [path for path in tiny_disk.rglob("*.json") if path.stat().st_size == 0]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_before_the_first_step(project: Path, box: Box, signum: int) -> None:
    started = box.start("train", "--config", "demo.yaml", cwd=project)
    wait_for(project / "outputs/demo/attempts/01-bnb/train.log")
    started.kill(signum)
    ran = started.wait()
    assert ran.code in (128 + signum, 85), ran.err
    assert not list(project.rglob("handover.json"))


def test_a_stop_that_a_library_swallows_in_its_import_ends_the_stage(
    project: Path, box: Box
) -> None:
    before = _left(project)
    fault = {"BOX_BREAK": "tests.faults:a_library_swallows_a_stop"}
    ran = box.run("train", "--config", "demo.yaml", cwd=project, **fault)
    assert ran.code == 143 and "stopped by SIGTERM" in ran.err, ran.err
    assert _left(project) == before


def test_a_read_only_outputs_folder(project: Path, box: Box) -> None:
    if os.getuid() == 0:
        (project / "outputs").write_text("a file where the folder should be")
        ran = box.run("train", "--config", "demo.yaml", cwd=project)
        assert ran.code in (66, 74, 77), ran.err
        return
    (project / "outputs").mkdir(mode=0o500)
    ran = box.run("train", "--config", "demo.yaml", cwd=project)
    assert ran.code == 77, ran.err
    assert "chown" in ran.err


def test_the_config_of_a_run_is_found_by_its_name(project: Path, box: Box) -> None:
    run = project / "outputs" / "named"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("train: {batch_size: 0}\n")
    ran = box.run("train", "--run", "named", cwd=project)
    assert ran.code == 78 and "outputs/named/config.yaml" in ran.err
