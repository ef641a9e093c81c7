"""Room on a disk, asked before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.model.runtime.disk_room import require_room


def test_no_room_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    require_room(tmp_path, 1, "a file")
    with pytest.raises(StorageError, match=r"requires 1000\.0 TB") as caught:
        require_room(tmp_path, 10**15, "a file")
    assert caught.value.code == 74
    assert list(tmp_path.iterdir()) == []
