import os
from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.host import folders

IDS = [f"SFTPLAY_UID={os.getuid()}", f"SFTPLAY_GID={os.getgid()}"]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_folder_is_made_once_with_its_gitkeep() -> None:
    assert len(folders.setup()) == 7
    for folder in ("raw", "processed", "processed_with_style", "rendered", "tokenized"):
        assert Path("data", folder, ".gitkeep").is_file()
    assert Path("outputs/.gitkeep").is_file()
    assert folders.setup() == []


def test_env_holds_the_callers_ids() -> None:
    folders.setup()
    assert Path(".env").read_text().splitlines() == IDS


def test_an_env_file_keeps_its_other_lines_and_its_narrow_mode() -> None:
    Path(".env").write_text("HF_TOKEN=hf_secret\nSFTPLAY_UID=99999\n")
    Path(".env").chmod(0o600)
    folders.setup()
    assert Path(".env").read_text().splitlines() == ["HF_TOKEN=hf_secret", *IDS]
    assert Path(".env").stat().st_mode & 0o777 == 0o600


def test_a_file_where_a_folder_should_be_is_named() -> None:
    Path("data").write_text("")
    with pytest.raises(StorageError, match="data"):
        folders.setup()
