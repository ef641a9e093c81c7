from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.system.working_directory import working_directory


def test_it_returns_to_where_it_was_even_after_an_error(tmp_path: Path) -> None:
    before = Path.cwd()
    with pytest.raises(ZeroDivisionError), working_directory(tmp_path):
        assert Path.cwd() == tmp_path
        raise ZeroDivisionError
    assert Path.cwd() == before
