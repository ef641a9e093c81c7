"""The user's own Python: found, compared with a stack's ranges, and stages run in it by the real
command. The Pythons are real ones: environments made here by the venv module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sftplay.errors import MachineError, NotFoundError
from sftplay.host.local import active
from sftplay.host.local.requirements import compare, read_requirements
from sftplay.host.local.runner import stage_environ
from sftplay.host.system.checkout import CHECKOUT
from sftplay.stages import BY_NAME
from tests.host.conftest import NO_ENGINE, stage_python

PACKAGES = {"torch": "2.13.0", "trl": "1.20.0", "extra": "1"}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A real environment with nothing in it."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "empty")
    return tmp_path / "empty" / "bin" / "python"


def add_package(python: Path, name: str, version: str) -> None:
    """Leave what pip leaves of a package: its metadata, found before that of the borrowed ones."""
    site = next(python.parent.parent.glob("lib/python*/site-packages"))
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A real environment with the packages that stages need: borrowed from those of the tests."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "own")
    site = next((tmp_path / "own").glob("lib/python*/site-packages"))
    command = [stage_python(), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    borrowed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (site / "borrowed.pth").write_text(borrowed)
    return tmp_path / "own" / "bin" / "python"


def ranges(*words: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, words))


@pytest.mark.parametrize(
    ("wanted", "version", "good"),
    [
        ("torch==2.13.0", "2.13.0", True),
        ("torch==2.13.0", "2.13.0+cu130", True),  # the same release, built for another CUDA
        ("torch==2.13.0", "2.13.0a0+nv26.7", False),
        ("torch==2.13.0", "2.12.1", False),
        ("trl>=1.16", "1.16.0rc1", False),
        ("trl>=1.16", "1.17.0.dev0", True),
        ("trl>=1.16", "unknown", False),
    ],
)
def test_a_version_is_in_its_range(wanted: str, version: str, good: bool) -> None:
    name = Requirement(wanted).name
    assert compare(ranges(wanted), {name: version}).fits is good


def test_what_is_missing_or_outside_is_named_with_the_line_that_installs_it() -> None:
    check = compare(ranges("torch==2.13.0", "trl>=2", "Rouge_Score>=0.1"), PACKAGES)
    assert [one.name for one in check.missing] == ["Rouge_Score"]
    assert [(one.name, found) for one, found in check.outside] == [("trl", "1.20.0")]
    line = "/opt/python -m pip install 'Rouge_Score>=0.1' 'trl>=2'"
    assert check.pip_line(Path("/opt/python")) == line
    assert "trl" not in check.pip_line(Path("/opt/python"), missing_only=True)


def test_ranges_are_those_of_the_stacks_own_list() -> None:
    by_name = {one.name: str(one.specifier) for one in read_requirements("bnb")}
    text = (CHECKOUT / "images/bnb/requirements.in").read_text()
    assert f"transformers{by_name['transformers']} " in text
    assert "orjson" in by_name  # of data.in, which it includes
    assert "unsloth" in {one.name for one in read_requirements("unsloth")}


def test_the_freeze_is_of_everything_and_changes_with_one_package(empty: Path) -> None:
    first, _ = active.look(empty, "bnb")
    assert first.freeze[0] == f"Python {sys.version}"
    add_package(empty, "Some_Thing", "1.0")
    active._ask.cache_clear()
    second, _ = active.look(empty, "bnb")
    assert second.freeze == (*first.freeze, "some-thing==1.0")
    assert second.environment_hash != first.environment_hash


def test_a_python_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(MachineError, match="does not tell its packages: no module"):
        active.look(broken, "bnb")


def test_the_python_is_the_named_one_or_that_of_the_active_environment(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SFTPLAY_PYTHON", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(empty.parent.parent))
    assert active.find().parent == empty.parent
    monkeypatch.setenv("SFTPLAY_PYTHON", sys.executable)
    assert str(active.find()) == sys.executable
    monkeypatch.setenv("SFTPLAY_PYTHON", "/nowhere/python")
    with pytest.raises(NotFoundError, match="not a program"):
        active.find()


def test_a_stage_sees_the_packages_that_were_looked_at(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = active.look(empty, "bnb")
    env = stage_environ(BY_NAME["train"], made, {"PYTHONPATH": "/opt/site", "HOME": "/me"}, cores=2)
    assert env["PYTHONPATH"] == f"{CHECKOUT}:/opt/site"  # modules of an HPC machine
    assert "PYTHONNOUSERSITE" not in env
    assert (env["SFTPLAY_RUNNER"], env["SFTPLAY_STACK"]) == ("active", "active")
    assert env["SFTPLAY_ENVIRONMENT_HASH"] == made.environment_hash
    assert env["SFTPLAY_LOCK_HASH"] == ""


@pytest.mark.parametrize("given", ["same", "other", "none"])
def test_a_handed_over_run_goes_to_a_python_with_bnbs_packages(
    given: str,
    empty: Path,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same Python if its packages are in BnB's ranges, else the one that is named for BnB, else
    a locked environment.
    """
    monkeypatch.setenv("SFTPLAY_PYTHON", str(own if given == "same" else empty))
    monkeypatch.delenv("SFTPLAY_PYTHON_BNB", raising=False)
    if given == "other":
        monkeypatch.setenv("SFTPLAY_PYTHON_BNB", str(own))
    if given == "none" and "cpu" not in active.environments.present():
        pytest.skip("needs the cpu stack: inv install")
    made = active.environment("bnb", "unsloth", "cpu")
    assert made.runner == ("local" if given == "none" else "active")
    assert given == "none" or made.python == own
    said = capsys.readouterr().err
    assert ("SFTPLAY_PYTHON_BNB=/path/to/python names another" in said) is (given == "none")


def inv(folder: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The real command in a project folder, with no engine."""
    project = {"SFTPLAY_PROJECT": str(folder), "SFTPLAY_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "sftplay.host.cli", *words],
        cwd=folder,
        env={
            **os.environ,
            **project,
            "PYTHONPATH": str(CHECKOUT),
            "DOCKER_HOST": NO_ENGINE,
            "SFTPLAY_PYTHON": str(python),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with raw rows."""
    folder = tmp_path / "project"
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "tasks.py").write_text('"SFTPLAY_PROJECT"')
    (folder / "c.yaml").write_text("data: {test_share: 0}\n")
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (folder / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_missing_packages_end_the_command_before_anything_is_written(
    project: Path, empty: Path
) -> None:
    ran = inv(project, empty, "process", "--config", "c.yaml")
    assert ran.returncode == 69, ran.stderr
    assert f"{empty} -m pip install torch==2.13.0 " in ran.stderr
    assert not (project / "data" / "processed").exists()


def test_a_stage_runs_in_it_and_what_is_outside_is_said_once(project: Path, own: Path) -> None:
    add_package(own, "sacrebleu", "2.4.3")
    ran = inv(project, own, "process", "--config", "c.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "process: active runner (SFTPLAY_PYTHON=" in ran.stderr
    assert ran.stderr.count("sacrebleu 2.4.3 is outside the bnb stack's range >=2.5") == 1
    assert f"{own} -m pip install 'sacrebleu>=2.5'" in ran.stderr
    assert (project / "data" / "processed" / "train.jsonl").is_file()
    assert "pip" not in {path.name for path in own.parent.iterdir()}  # nothing was installed


@pytest.mark.long  # four stages that import torch
def test_train_resume_in_the_other_runner_replay_and_back(
    project: Path, own: Path, tiny_model: Path
) -> None:
    config = "train: {method: lora, max_steps: 2, batch_size: 2, save_steps: 2, logging_steps: 1}\n"
    (project / "c.yaml").write_text(
        f"model: {{name: {tiny_model}, max_length: 256}}\n{config}data: {{test_share: 0}}\n"
    )
    words = ("train", "--config", "c.yaml", "--run", "demo")
    ran = inv(project, own, *words)
    assert ran.returncode == 0, ran.stderr
    run = project / "outputs" / "demo"
    stamp = json.loads((run / "backend.json").read_text())
    made, _ = active.look(own, "bnb")
    assert (stamp["stack"], stamp["lock_hash"]) == ("active", None)
    assert stamp["environment_hash"] == made.environment_hash
    listed = (run / "launch" / "packages-001.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in listed[1:]] == [
        line.partition("==")[0] for line in made.freeze[1:]
    ]
    assert inv(project, own, "merge", "--run", "demo").returncode == 0

    again = inv(project, own, "replay", "demo")
    assert again.returncode == 0, again.stderr
    add_package(own, "another", "1.0")
    refused = inv(project, own, "replay", "demo")
    assert refused.returncode == 69 and "another==1.0 now" in refused.stderr, refused.stderr
    resumed = inv(project, own, *words, "--resume", "--set", "train.max_steps=3")
    assert resumed.returncode == 0, resumed.stderr
    assert "warn    environment_hash" in resumed.stderr
