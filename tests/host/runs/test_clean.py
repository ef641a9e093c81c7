import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.errors import UsageError
from sftplay.host.containers import folders
from sftplay.host.runs import clean
from sftplay.locks import hold


def put(path: str, content: str = "x" * 1000) -> Path:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders.setup()
    put("data/raw/mine.jsonl")
    put("data/processed/train.jsonl")
    put("data/processed_with_style/train.jsonl")
    put("data/processed_mine/train.jsonl")
    put("data/tokenized_mine/train.arrow")
    put("outputs/first/adapter/adapter_model.safetensors")
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path / ".envs"))
    put(".envs/cpu-123/bin/python")
    put(".envs/cpu-123/sftplay.json", "{}")
    put(".envs/not-ours/file")


def left() -> set[str]:
    return {
        str(path)
        for path in Path().rglob("*")
        if path.is_file() and path.name not in (".gitkeep", ".env")
    }


def test_generated_data_goes_named_datasets_too_and_the_rest_stays() -> None:
    assert clean.run(yes=True) == 0
    assert left() == {
        "data/raw/mine.jsonl",
        "outputs/first/adapter/adapter_model.safetensors",
        ".envs/cpu-123/bin/python",
        ".envs/cpu-123/sftplay.json",
        ".envs/not-ours/file",
    }
    assert Path("data/processed/.gitkeep").is_file()
    assert not Path("data/processed_mine").exists()


def test_sizes_are_shown_before_anything_goes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no terminal"):
        clean.run(runs=True)
    shown = capsys.readouterr().err
    assert "data/processed " in shown and "1.0 kB" in shown and "together 5.0 kB" in shown
    assert len(left()) == 9


def test_runs_and_environments_go_only_when_asked_for() -> None:
    clean.run(runs=True, envs=True, yes=True)
    assert left() == {"data/raw/mine.jsonl", ".envs/not-ours/file"}
    assert Path("outputs/.gitkeep").is_file()


def test_a_run_that_somebody_holds_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with hold(Path("outputs/first/.run.lock"), who="train 01-bnb"):
        clean.run(runs=True, yes=True)
    assert Path("outputs/first/adapter/adapter_model.safetensors").is_file()
    assert "train 01-bnb" in capsys.readouterr().err
    clean.run(yes=True)
    assert not Path("data/processed/train.jsonl").exists()


def test_the_data_of_a_run_that_is_worked_on_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    put("outputs/second/run.json")
    with hold(Path("outputs/first/.run.lock"), who="train 01-bnb"):
        clean.run(runs=True, yes=True)
    assert (
        Path("data/processed/train.jsonl").is_file()
        and Path("data/tokenized_mine/train.arrow").is_file()
    )
    assert not Path("outputs/second").exists()
    assert "a process works on the run first" in capsys.readouterr().err


def test_an_environment_that_is_in_use_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    program = Path(".envs/cpu-123/bin/python")
    program.unlink()
    program.symlink_to(sys.executable)
    words = [str(program.absolute()), "-c", "print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None and user.stdout.readline()  # it runs
        clean.run(envs=True, yes=True)
        assert program.exists()
        assert f"process {user.pid}" in capsys.readouterr().err
        user.communicate(b"\n")
    clean.run(envs=True, yes=True)
    assert not Path(".envs/cpu-123").exists()


def test_links_are_unlinked_and_never_followed(tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("keep me")
    Path("outputs/link").symlink_to(elsewhere)
    Path("outputs/first/link").symlink_to(elsewhere)
    Path("data/rendered/link").symlink_to(elsewhere)
    clean.run(runs=True, yes=True)
    assert (elsewhere / "precious").read_text() == "keep me"
    assert not Path("outputs/link").is_symlink() and not Path("data/rendered/link").is_symlink()


def test_nothing_to_remove_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    clean.run(yes=True)
    capsys.readouterr()
    assert clean.run() == 0
    assert (
        "nothing to remove (--runs: the runs, --envs: the environments too)"
        in capsys.readouterr().err
    )


def test_a_data_folder_that_a_stage_writes_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        hold(Path("data/processed/.lock"), who="process"),
        hold(Path("data/tokenized_mine/.lock"), who="tokenize"),
    ):
        clean.run(yes=True)
    assert (
        Path("data/processed/train.jsonl").is_file()
        and Path("data/tokenized_mine/train.arrow").is_file()
    )
    assert not Path("data/processed_mine").exists()
    assert "tokenize" in capsys.readouterr().err
