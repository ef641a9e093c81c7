"""Whose weights a GGUF file holds, by the manifests of the runs here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sftplay.errors import RefusedError
from sftplay.gguf_file import check_gguf
from sftplay.gguf_owner import require_own_gguf
from sftplay.manifest import seal
from sftplay.runs import Run
from tests.test_gguf_file import write


@pytest.fixture(autouse=True)
def _two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs whose files have the same size."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mix"):
        file = Path(f"outputs/{name}/gguf/{name}-F16.gguf")
        write(file)
        content = bytearray(file.read_bytes())
        content[-1] ^= name == "mix"
        file.write_bytes(content)
        seal(file.parent, {"run": name})


def test_a_file_answers_for_the_run_that_it_was_made_from() -> None:
    check_gguf(Run("mix"), "outputs/mix/gguf/mix-F16.gguf")
    assert require_own_gguf(Run("mix"), Path("outputs/mix/gguf/mix-F16.gguf"))


@pytest.mark.parametrize(
    "place", ["outputs/mine/gguf/mine-F16.gguf", "a.gguf", "outputs/mix/gguf/b.gguf"]
)
def test_a_file_of_another_run_is_refused_wherever_it_lies(place: str) -> None:
    if not Path(place).exists():
        shutil.copy("outputs/mine/gguf/mine-F16.gguf", place)
    with pytest.raises(RefusedError, match="run mine, not those of mix") as caught:
        check_gguf(Run("mix"), place)
    assert caught.value.code == 76
    assert caught.value.todo.startswith(f"inv infer --run mine --gguf {place}\n")


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"files": {"a.gguf": 3}}'])
def test_a_file_in_the_folder_of_another_run_is_its_own_without_a_manifest(broken: str) -> None:
    Path("outputs/mine/gguf/manifest.json").write_text(broken)
    with pytest.raises(RefusedError, match="run mine"):
        check_gguf(Run("mix"), "outputs/mine/gguf/mine-F16.gguf")


def test_a_file_that_no_run_lists_is_known_as_nobodys() -> None:
    write(Path("stranger.gguf"))
    with open("stranger.gguf", "ab") as file:
        file.write(b"more")
    assert not require_own_gguf(Run("mix"), Path("stranger.gguf"))
    shutil.copy("stranger.gguf", "outputs/mix/gguf/new.gguf")
    assert not require_own_gguf(Run("mix"), Path("outputs/mix/gguf/new.gguf"))
