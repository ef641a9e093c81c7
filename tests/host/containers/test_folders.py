import os
from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.host.containers import folders
from sftplay.host.system.checkout import CHECKOUT
from sftplay.setup_files import write_env

IDS = [f"SFTPLAY_UID={os.getuid()}", f"SFTPLAY_GID={os.getgid()}"]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_CACHE", "models")
    monkeypatch.setenv("SFTPLAY_MEMORY", "8g")


def env_lines(tmp_path: Path, gpu: str = "") -> list[str]:
    """Return the expected lines of .env, given the device files in a folder."""
    (tmp_path / "dev").mkdir(exist_ok=True)
    for name in gpu.split():
        (tmp_path / "dev" / name).touch()
    return [
        f"{name}={value}" for name, value in folders.compose_variables(tmp_path / "dev").items()
    ]


def test_every_folder_is_made_once_with_its_gitkeep() -> None:
    assert len(folders.setup()) == 8
    assert Path("models").is_dir()  # a container can have it mounted only where it exists
    for folder in ("raw", "processed", "processed_with_style", "rendered", "tokenized"):
        assert Path("data", folder, ".gitkeep").is_file()
    assert Path("outputs/.gitkeep").is_file()
    assert folders.setup() == []


def test_env_holds_what_compose_has_to_know(tmp_path: Path) -> None:
    common = [*IDS, f"SFTPLAY_CACHE={tmp_path}/models", f"SFTPLAY_MEMORY={8 << 30}"]
    common += [f"SFTPLAY_SOURCE={CHECKOUT}"]
    assert env_lines(tmp_path) == [*common, "COMPOSE_FILE=compose.yaml:compose.cpu.yaml"]
    assert env_lines(tmp_path, gpu="nvidia0") == common
    folders.setup()
    assert Path(".env").read_text().splitlines()[:5] == common


def test_a_checkout_builds_from_itself(tmp_path: Path) -> None:
    Path("images").mkdir()
    Path("images/Dockerfile").touch()
    assert not any("SFTPLAY_SOURCE" in line for line in env_lines(tmp_path))


def test_the_set_up_in_a_container_keeps_where_the_source_is() -> None:
    """A container does not know; after an upgrade the host's set-up writes the new place."""
    Path(".env").write_text("SFTPLAY_UID=7\nSFTPLAY_SOURCE=/old\n")
    write_env({"SFTPLAY_UID": "8"})
    assert Path(".env").read_text().splitlines() == ["SFTPLAY_SOURCE=/old", "SFTPLAY_UID=8"]
    folders.setup()
    assert f"SFTPLAY_SOURCE={CHECKOUT}" in Path(".env").read_text().splitlines()
    assert Path(".env").read_text().count("SFTPLAY_SOURCE") == 1


def test_an_env_file_keeps_its_other_lines_and_its_narrow_mode() -> None:
    Path(".env").write_text(
        "HF_TOKEN=hf_secret\nSFTPLAY_UID=99999\nCOMPOSE_FILE=mine.yaml\nSFTPLAY_MEMORY=4g\n"
    )
    Path(".env").chmod(0o600)
    folders.setup()
    lines = Path(".env").read_text().splitlines()
    assert lines[:3] == ["HF_TOKEN=hf_secret", "COMPOSE_FILE=mine.yaml", "SFTPLAY_MEMORY=4g"]
    assert lines[3:5] == IDS
    assert len(lines) == 7  # and the cache and the source
    assert Path(".env").stat().st_mode & 0o777 == 0o600


def test_a_file_where_a_folder_should_be_is_named() -> None:
    Path("data").write_text("")
    with pytest.raises(StorageError, match="data"):
        folders.setup()
