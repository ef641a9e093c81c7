"""Stages on a full disk: 74, one clear message, and nothing half written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from sftplay.boundary import Boundary
from sftplay.files import explain_os_error, write_text
from tests.box import Box
from tests.disks import fill_inodes, small_disk


@pytest.mark.parametrize("options", ["size=2m", "size=100m,nr_inodes=60"])
def test_merge(options: str, trained_project: Path, tmp_path: Path, box: Box) -> None:
    project = Path(shutil.copytree(trained_project, tmp_path / "project"))
    whole = Path(shutil.move(project / "outputs/demo", tmp_path / "demo"))
    with small_disk(project / "outputs/demo", options) as disk:
        shutil.copytree(whole, disk, dirs_exist_ok=True)
        if "inodes" in options:
            fill_inodes(disk)
        else:
            room = shutil.disk_usage(disk).free - 100_000
            (disk / "filler").write_bytes(bytes(room))
        before = set(disk.rglob("*"))
        ran = box.run("merge", "--run", "demo", cwd=project)
        assert ran.code == 74, ran.err
        assert ran.err.count("Traceback") == 0
        assert ("inodes" if "inodes" in options else "disk is full") in ran.err
        left = {path.relative_to(disk) for path in set(disk.rglob("*")) - before}
        assert not [path for path in left if "merged" in path.name], left


def test_no_room_for_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk", "size=1m,nr_inodes=20") as disk:
        fill_inodes(disk)
        with Boundary("test") as end:
            write_text(disk / "report.json", "{}")
    assert end.code == 74
    said = capsys.readouterr().err
    assert "inodes" in said and "free some space" not in said and "Traceback" not in said


@pytest.mark.parametrize(("number", "word"), [(errno.EDQUOT, "quota"), (errno.EROFS, "read-only")])
def test_what_the_disk_lacks_is_named(number: int, word: str) -> None:
    assert word in explain_os_error(OSError(number, "x"), "here").what
