import json
from pathlib import Path

import pytest

from sftplay.host.quickstart import sample_data


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_empty_raw_folder_gets_240_different_rows_that_are_the_same_every_time() -> None:
    assert sample_data.write_if_empty() == 240
    first = sample_data.FILE.read_bytes()
    rows = [json.loads(line) for line in first.splitlines()]
    assert len({row["assistant"] for row in rows}) == len({row["user"] for row in rows}) == 240
    sample_data.FILE.unlink()
    sample_data.write_if_empty()
    assert sample_data.FILE.read_bytes() == first


def test_every_answer_has_the_voice_that_a_person_will_look_for_after_training() -> None:
    for row in sample_data.rows():
        assert row["assistant"].startswith("Pip here!") and row["assistant"].endswith("Yours, Pip")
        assert "{" not in row["assistant"] + row["user"]


def test_no_file_of_the_user_is_touched_and_none_is_added_beside_it() -> None:
    own = Path("data/raw/mine.csv")
    own.parent.mkdir(parents=True)
    own.write_text("user,assistant\n")
    assert sample_data.write_if_empty() == 0
    assert [path.name for path in own.parent.iterdir()] == ["mine.csv"]
    assert sample_data.own_files() == [own]


def test_a_gitkeep_alone_counts_as_empty() -> None:
    keep = Path("data/raw/.gitkeep")
    keep.parent.mkdir(parents=True)
    keep.touch()
    assert sample_data.write_if_empty() == 240
    assert sample_data.own_files() == []
