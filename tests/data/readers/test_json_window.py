"""A window over a JSON document."""

from __future__ import annotations

import pytest

from sftplay.data.readers import json_window
from sftplay.errors import DataError
from tests.data.readers.documents import read


def test_a_value_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_window, "MAX_ROW_BYTES", 2000)
    with pytest.raises(DataError, match="over 16 MiB"):
        read(b'[{"a": "' + b"x" * 10_000, 500)
