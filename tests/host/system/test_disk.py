"""Sizes on disk, compared with find's."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sftplay.host.system.disk import disk_size


def test_a_folder_is_the_sum_of_its_files_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"x" * 5000)
    folder = tmp_path / "folder"
    (folder / "deeper" / "deepest").mkdir(parents=True)
    (folder / "a").write_bytes(b"x" * 1234)
    (folder / "deeper" / "deepest" / "b").write_bytes(b"x" * 99)
    (folder / "deeper" / "link").symlink_to(outside)
    (folder / "deeper" / "loop").symlink_to(folder)
    command = ["find", str(folder), "!", "-type", "d", "-printf", "%s\\n"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert disk_size(folder) == sum(map(int, listed.split()))


def test_a_file_and_a_link_to_one(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"x" * 5000)
    link.symlink_to(file)
    assert disk_size(file) == 5000
    assert disk_size(link) == len(str(file))
