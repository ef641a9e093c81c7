"""sftplay from a built wheel in an empty environment, and the projects that it makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.containers import image_names
from sftplay.host.system.uv import find_uv
from tests.host.conftest import CHECKOUT, NO_ENGINE, make_environment, stage_python

pytest.importorskip("hatchling", reason="the build backend is in the dev environment")


def build_wheel(source: Path, folder: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and the host's locked packages."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(CHECKOUT, folder)
    uv, environment = str(find_uv()), folder / "env"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, environment], check=True)
    into = ["-q", "--python", str(environment / "bin" / "python")]
    host_lock = CHECKOUT / "images" / "host.lock"
    subprocess.run([uv, "pip", "sync", *into, "--require-hashes", host_lock], check=True)
    subprocess.run([uv, "pip", "install", *into, "--no-deps", wheel], check=True)
    return environment / "bin"


class Person:
    """Types commands in a folder; knows nothing of the checkout."""

    def __init__(self, tools: Path, home: Path, envs: Path) -> None:
        self.tools, self.home = tools, home
        self.environ = {
            "HOME": str(home),
            "PATH": f"{tools}:/usr/bin:/bin",
            "SFTPLAY_CACHE": str(home / "cache"),
            "SFTPLAY_ENVS": str(envs),
            "DOCKER_HOST": NO_ENGINE,
            "LANG": "C.UTF-8",
        }

    def types(self, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=folder, env=self.environ, capture_output=True, text=True, check=False
        )


@pytest.fixture
def person(installed: Path, tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    make_environment(tmp_path / "envs", f'exec {stage_python()} "$@"')
    return Person(installed, home, tmp_path / "envs")


def test_stages_run_in_a_project_of_an_installed_sftplay(person: Person, tmp_path: Path) -> None:
    made = person.types(tmp_path, "sftplay", "init", "mine")
    assert made.returncode == 0, made.stderr
    project = tmp_path / "mine"
    rows = [{"question": f"How much is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
    raw = "\n".join(json.dumps(row) for row in rows)
    (project / "data/raw/rows.jsonl").write_text(raw, encoding="utf-8")
    for argv in (["sftplay"], ["inv"], ["python", "tasks.py"]):
        done = person.types(project, *argv, "process", "--runner", "local")
        assert done.returncode == 0, done.stderr
        train = (project / "data/processed/train.jsonl").read_text(encoding="utf-8")
        assert "How much is" in train
    below = person.types(project / "data", "sftplay", "config.show")
    assert "smollm2-135m-instruct" in below.stdout
    person.types(project / "data", "sftplay", "config.schema", "--output=../above.json")
    person.types(project / "data", "inv", "config.schema", "--output=~/home.json")
    assert (project / "above.json").is_file() and (person.home / "home.json").is_file()


def test_compose_can_build_and_set_up_a_project(person: Person, tmp_path: Path) -> None:
    """The command that compose.yaml names where the set-up is missing, with the real Compose."""
    compose = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    if compose is None:
        pytest.skip("docker-compose is among the developer tools of Python 3.11")
    person.types(tmp_path, "sftplay", "init", "mine")
    project = tmp_path / "mine"
    words = ["--profile", "*", "config", "--format", "json"]
    shown = person.types(project, compose, "-f", "compose.setup.yaml", *words)
    assert shown.returncode == 0, shown.stderr
    services = json.loads(shown.stdout)["services"]
    context = Path(services["setup"]["build"]["context"])
    for name in (services["cpu"]["build"]["dockerfile"], "sftplay/stages.py", "images/cpu"):
        assert (context / name).exists(), name
    assert services["setup"]["volumes"][0]["source"] == str(project)
    stages = json.loads(person.types(project, compose, *words).stdout)["services"]
    assert stages["cpu"]["build"] == services["cpu"]["build"]
    (project / ".env").unlink()
    (said,) = person.types(project, compose, *words).stderr.splitlines()
    assert "compose.setup.yaml" in said and (project / "compose.setup.yaml").is_file()


def test_the_images_are_those_of_the_checkout(person: Person, tmp_path: Path) -> None:
    """Else no published image could be pulled for it, and each would be built again."""
    ask = (
        "from sftplay.host.containers import image_names;"
        "print(*(image_names.current(s).context_hash for s in image_names.STACKS))"
    )
    found = person.types(tmp_path, str(person.tools / "python"), "-c", ask)
    today = [image_names.current(stack).context_hash for stack in image_names.STACKS]
    assert found.stdout.split() == today, found.stderr


def test_what_the_person_changed_is_kept(person: Person, tmp_path: Path) -> None:
    person.types(tmp_path, "sftplay", "init", "mine")
    config = tmp_path / "mine/configs/run_bnb.yaml"
    config.write_text("train: {epochs: 3}\n", encoding="utf-8")
    (tmp_path / "mine/configs/lora.yaml").unlink()
    again = person.types(tmp_path, "sftplay", "init", "mine")
    assert again.returncode == 0
    assert "kept: configs/run_bnb.yaml" in again.stderr + again.stdout
    assert config.read_text(encoding="utf-8") == "train: {epochs: 3}\n"
    assert (tmp_path / "mine/configs/lora.yaml").is_file()


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (["init"], 2, "requires the name of a folder"),
        (["init", "one", "two"], 2, "one name at most"),
        (["init", "taken"], 74, "a file has this name"),
        (["process"], 66, "sftplay init"),
        (["lint"], 69, "developers"),
    ],
)
def test_what_has_no_project_says_so(
    person: Person, tmp_path: Path, argv: list[str], code: int, word: str
) -> None:
    (tmp_path / "taken").write_text("")
    done = person.types(tmp_path, "sftplay", *argv)
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"envs", "home", "taken"}


def test_a_python_without_sftplay_is_named(person: Person, tmp_path: Path) -> None:
    person.types(tmp_path, "sftplay", "init", "mine")
    bare = os.path.realpath(sys.executable)
    done = person.types(tmp_path / "mine", bare, "-I", "tasks.py")
    assert done.returncode == 69
    assert "activate the environment" in done.stderr


def test_an_upgrade_reaches_the_stages(person: Person, tmp_path: Path) -> None:
    """They run from an unpacked copy: one that outlives its installation would train with old code.

    Same version, other content, as when somebody installs from a checkout again.
    """
    person.types(tmp_path, "sftplay", "init", "mine")
    project = tmp_path / "mine"
    (project / "data/raw/rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n' * 30)
    before = person.types(project, "sftplay", "process", "--runner", "local")
    assert before.returncode == 0 and "upgraded" not in before.stderr, before.stderr

    source = tmp_path / "source"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "site"))
    shutil.copy(CHECKOUT / ".dockerignore", source)
    stage = source / "sftplay/data/process.py"
    stage.write_text(stage.read_text() + '\nconsole.info("upgraded")\n')
    wheel = build_wheel(source, tmp_path / "wheels")
    python = str(person.tools / "python")
    install = ["uv", "pip", "install", "-q", "--python", python, "--no-deps", "--reinstall", wheel]
    subprocess.run([find_uv(), *install[1:]], check=True)

    again = person.types(project, "sftplay", "process", "--runner", "local")
    assert again.returncode == 0 and "upgraded" in again.stderr, again.stderr
