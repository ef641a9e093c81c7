"""compose.yaml for real: stages in containers of the cpu image, on a machine without a GPU, as a
user who is not root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from sftplay.host.containers import engine, image_names
from sftplay.host.system import processes
from sftplay.host.system.checkout import CHECKOUT
from tests.host.containers.test_compose import compose
from tests.host.standin import wait_until

pytestmark = pytest.mark.docker
# Whom containers run as: somebody else where the tests run as root, so that a file of root's would
# be seen.
UID, GID = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
QUICK = ("--set", "train.max_steps=2", "--set", "train.batch_size=1", "--set", "train.method=lora")


COMPOSE_FILES = ("compose.yaml", "compose.cpu.yaml", "compose.setup.yaml")


class Project:
    """A folder with compose.yaml, some data and a cache, and what one types in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COMPOSE_FILES:
            shutil.copy(CHECKOUT / name, folder / name)
        shutil.copytree(CHECKOUT / "configs", folder / "configs")
        for name in ("data/raw", "outputs", "cache"):
            (folder / name).mkdir(parents=True)
        (folder / "tasks.py").touch()  # a project for `inv`
        rows = [
            {"user": f"What is {n} plus {n}?", "assistant": f"It is {n + n}."} for n in range(40)
        ]
        (folder / "data/raw/sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.port = processes.next_free(20000 + os.getpid() % 20000)
        ids = {"SFTPLAY_UID": UID, "SFTPLAY_GID": GID, "SFTPLAY_CACHE": folder / "cache"}
        ids |= {
            "COMPOSE_FILE": "compose.yaml:compose.cpu.yaml",
            "SFTPLAY_TENSORBOARD_PORT": self.port,
        }
        ids |= {"COMPOSE_PROJECT_NAME": f"sftplay-test-{os.getpid()}"}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in ids.items()))
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, UID, GID)

    @property
    def environ(self) -> dict[str, str]:
        """Without what this machine's environment says about sftplay and compose."""
        ours = ("SFTPLAY_", "COMPOSE_")
        return {key: value for key, value in os.environ.items() if not key.startswith(ours)}

    def compose(self, *words: str, limit: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [compose(), *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def stage(self, service: str, *words: str) -> str:
        """Run a stage, which has to succeed; return its output."""
        done = self.compose("run", "--rm", "-T", service, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def inv(self, *words: str) -> str:
        """Run a task on this folder; return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "sftplay.host.cli", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "SFTPLAY_PROJECT": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout

    def of_others(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.lstat().st_uid != UID]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = engine.connect()
    wanted = image_names.current("cpu").tag
    here = {tag for image in found.api.images() for tag in image.get("RepoTags") or ()}
    if wanted not in here:
        pytest.skip(f"{wanted} is not here: inv image.build cpu")
    found.api.tag(wanted, *image_names.alias("cpu").split(":"))
    return Project(tmp_path_factory.mktemp("compose"))


def test_the_stages_run_and_every_file_is_the_callers(project: Project) -> None:
    assert "40 rows in data/processed" in project.stage("process")
    project.stage("fetch", "--config", "configs/run_bnb.yaml")
    project.stage("train-bnb", "--config", "configs/run_bnb.yaml", *QUICK)
    assert (
        json.loads((project.folder / "outputs/run_bnb/backend.json").read_text())["stack"] == "cpu"
    )
    assert (project.folder / "outputs/run_bnb/adapter/adapter_model.safetensors").is_file()
    project.stage("merge", "--config", "configs/run_bnb.yaml")
    assert project.of_others() == []


def test_a_failing_stage_passes_its_code_on(project: Project) -> None:
    done = project.compose("run", "--rm", "-T", "process", "--config", "configs/not_there.yaml")
    assert done.returncode == 66 or done.returncode == 78, done.stderr


def test_a_stage_can_reach_no_network_and_write_nowhere_else(project: Project) -> None:
    look = "import socket, pathlib\nfor what in ('/x', '/sft/x', '/sft/configs/x', '/cache/x', '/sft/data/raw/x'):\n    try: pathlib.Path(what).touch(); print('wrote', what)\n    except OSError: pass\nprint([name for _, name in socket.if_nameindex()])"
    words = ("run", "--rm", "-T", "--entrypoint", "python", "process", "-c", look)
    done = project.compose(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['lo']"


def test_a_folder_that_is_missing_is_not_made_as_root(project: Project) -> None:
    (project.folder / "data/raw").rename(project.folder / "data/away")
    try:
        done = project.compose("run", "--rm", "-T", "process")
        assert done.returncode != 0
        assert "bind source path does not exist" in done.stderr
        assert not (project.folder / "data/raw").exists()
    finally:
        (project.folder / "data/away").rename(project.folder / "data/raw")


def test_tensorboard_answers_on_this_machine_alone(project: Project) -> None:
    try:
        done = project.compose("up", "-d", "--wait", "tensorboard")
        assert done.returncode == 0, done.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{project.port}", timeout=10) as page:
            assert page.status == 200
    finally:
        assert project.compose("--profile", "tensorboard", "down").returncode == 0


def test_what_compose_started_is_seen_and_stopped(project: Project) -> None:
    """By `inv ps`, `inv stop` and `inv stop-tb`: one truth about what runs."""
    project.stage("process")
    project.stage("fetch", "--config", "configs/run_bnb.yaml")
    assert project.compose("up", "-d", "--wait", "tensorboard").returncode == 0
    words = ("--config", "configs/run_bnb.yaml", "--run", "long", *QUICK)
    run = project.folder / "outputs/long"
    with open(project.folder / "screen", "wb") as screen:
        training = subprocess.Popen(
            [compose(), "run", "--rm", "-T", "train-bnb", *words, "--set", "train.max_steps=5000"],
            cwd=project.folder,
            env=project.environ,
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=screen,
        )
    try:
        wait_until((run / "attempts/01-bnb/progress.json").exists, "the first step", 300)
        listed = project.inv("ps")
        assert re.search(r"^train +long +compose +cpu .* running ", listed, flags=re.MULTILINE)
        assert re.search(r"^tensorboard +- +compose +cpu .* running ", listed, flags=re.MULTILINE)
        assert "TensorBoard already runs" in project.inv("tensorboard")
        assert "its checkpoint is written" in project.inv("stop", "long")
        assert training.wait(timeout=60) == 85
        assert "is stopped" in project.inv("stop-tb")
        assert "nothing of this project runs" in project.inv("ps")
        assert "tensorboard" not in project.compose("ps", "--all").stdout
    finally:
        project.compose("--profile", "*", "down", "--remove-orphans")
        training.kill()
        training.wait()


def test_train_unsloth_without_its_image_says_what_to_do(project: Project) -> None:
    words = ("run", "--rm", "-T", "train-unsloth", "--config", "configs/run_bnb.yaml")
    done = project.compose(*words, "--run", "unsloth")
    assert done.returncode == 69, done.stderr
    assert "docker compose -f compose.setup.yaml build unsloth" in done.stdout + done.stderr
    assert "docker compose run --rm train-bnb" in done.stdout + done.stderr


def test_the_set_up_needs_nothing_but_compose(project: Project, tmp_path: Path) -> None:
    """From an empty folder to processed rows, every file the folder's owner's."""
    for name in COMPOSE_FILES:
        shutil.copy(CHECKOUT / name, tmp_path / name)
    shutil.copytree(CHECKOUT / "configs", tmp_path / "configs")
    os.chown(tmp_path, UID, GID)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [compose(), *words]
        return subprocess.run(argv, cwd=tmp_path, env=project.environ, capture_output=True, text=True, check=False)  # fmt: skip

    done = run("run", "--rm", "-T", "process")
    assert done.returncode != 0
    assert done.stderr.count("docker compose -f compose.setup.yaml run --rm --build --user") == 1
    done = run("-f", "compose.setup.yaml", "run", "--rm", "-T", "setup")
    assert done.returncode == 77 and "say who you are" in done.stderr, done.stderr
    set_up = ("-f", "compose.setup.yaml", "run", "--rm", "-T", "--user", f"{UID}:{GID}", "setup")
    done = run(*set_up)
    assert done.returncode == 0, done.stderr
    assert f"stages run as {UID}:{GID}" in done.stderr
    for name in (".env", "data", "data/raw", "outputs/.gitkeep", ".cache/sftplay"):
        facts = (tmp_path / name).stat()
        assert (facts.st_uid, facts.st_gid) == (UID, GID), name
    assert f"SFTPLAY_UID={UID}\n" in (tmp_path / ".env").read_text()
    again = run(*set_up)
    assert again.returncode == 0 and "made nothing" in again.stderr
    shutil.copy(project.folder / "data/raw/sums.jsonl", tmp_path / "data/raw")
    done = run("run", "--rm", "-T", "process")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/processed/train.jsonl").stat().st_uid == UID
