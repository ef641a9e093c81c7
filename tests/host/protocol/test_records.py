"""Launch records: an edited one is named."""

from __future__ import annotations

import json

import pytest

from sftplay.errors import ProtocolError
from sftplay.host.protocol import records
from tests.host.standin import Project


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("start-001.json", {"number": "x"}),
        ("start-001.json", {"number": 7}),
        ("start-001.json", {"argv": [5]}),
        ("start-001.json", {"nonce": "other"}),
        ("exit-001.json", {"code": "0"}),
        ("exit-001.json", {"nonce": "other"}),
    ],
)
def test_a_record_that_was_edited_is_named(
    project: Project, name: str, content: dict[str, object]
) -> None:
    start = records.new_start(
        project.run / "launch", ["train", "--run", "demo"], stack="cpu", runner="local"
    )
    records.write_exit(project.run / "launch", start, code=65, asked="")
    path = project.run / "launch" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    with pytest.raises(ProtocolError) as caught:
        found = records.newest(project.run / "launch")
        assert found is not None
        records.read_exit(project.run / "launch", found)
    assert caught.value.code == 70 and caught.value.where.endswith(".json")
