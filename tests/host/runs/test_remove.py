"""runs.rm: only what nobody uses, and links are not followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.runs import clean, remove
from sftplay.locks import hold, share
from tests.host.runfolders import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_that_is_held_is_left_and_the_others_go(capsys: pytest.CaptureFixture[str]) -> None:
    busy, idle = write_run("busy"), write_run("idle")
    with hold(busy.run_lock, who="a trainer"):
        assert remove.run(["busy"], yes=True) == 75
        said = capsys.readouterr().err
        assert "left: outputs/busy" in said
        assert "next: inv stop busy" in said
        assert "✓" not in said
        assert remove.run(["busy", "idle"], yes=True) == 75
        assert "✓ removed" in capsys.readouterr().err
    assert busy.config.is_file()
    assert not idle.folder.exists()


def test_a_run_whose_ranks_still_save_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    saving = write_run("saving")
    with share(saving.ranks_lock), share(saving.ranks_lock):
        assert remove.run(["saving"], yes=True) == 75
        clean.run(runs=True, yes=True)
    assert "left: outputs/saving" in capsys.readouterr().err
    assert saving.config.is_file()
    assert remove.run(["saving"], yes=True) == 0


def test_removing_a_link_leaves_what_it_points_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = write_run("real")
    Path("outputs/real").rename(tmp_path / "kept")
    Path("outputs/real").symlink_to(tmp_path / "kept")
    assert remove.run(["real"], yes=True) == 0
    assert not elsewhere.folder.is_symlink()
    assert (tmp_path / "kept" / "run.json").is_file()
    assert "only the link goes" in capsys.readouterr().err


def test_links_inside_a_run_are_not_followed(tmp_path: Path) -> None:
    run = write_run("a")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (run.folder / "link").symlink_to(tmp_path / "precious")
    assert remove.run(["a"], yes=True) == 0
    assert not run.folder.exists()
    assert (tmp_path / "precious" / "file").exists()


def test_a_run_that_trains_is_not_removed(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("busy", finished=False)
    with hold(run.run_lock, who="a trainer"):
        assert remove.run(["busy"], yes=True) == 75
    assert run.stamp.is_file()
    assert "left" in capsys.readouterr().err
