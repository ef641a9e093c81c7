import json
from pathlib import Path

import pytest

from sftplay.errors import DataError, NotFoundError
from sftplay.freshness import DataStamp
from sftplay.host.estimate.workload import find_rows
from sftplay.host.quickstart import sample_data
from sftplay.settings import Settings


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)


def raw(value: object) -> Settings:
    return Settings.model_validate({"data": {"raw": value}})


def test_tokenized_data_is_counted_exactly() -> None:
    facts = {
        "rows": {"train": 10},
        "tokens": {"train": 900},
        "trained_tokens": {"train": 400},
        "max_tokens": 120,
    }
    folder = Path("data/tokenized")
    folder.mkdir()
    DataStamp("tokenize", "sha256:0", {}, facts=facts).write(folder)
    rows = find_rows(Settings())
    assert rows is not None and rows.exact
    assert (rows.count, rows.tokens, rows.trained, rows.longest) == (10, 90, 40, 120)


def test_an_empty_train_split_is_bad_data() -> None:
    folder = Path("data/tokenized")
    folder.mkdir()
    DataStamp("tokenize", "sha256:0", {}, facts={"rows": {"train": 0}}).write(folder)
    with pytest.raises(DataError, match="train split is empty"):
        find_rows(Settings())


def test_raw_rows_are_guessed_near_the_truth() -> None:
    sample_data.write_if_empty()
    rows = find_rows(Settings())
    assert rows is not None and not rows.exact
    assert rows.count == 216  # 240 less the shares of val and test
    assert 60 < rows.tokens < 120


def test_a_glob_and_a_list_are_followed() -> None:
    for name in ("a.jsonl", "b.jsonl", "c.csv"):
        Path("data/raw", name).write_text('{"user": "one", "assistant": "two"}\n' * 100)
    found = find_rows(raw(["data/raw/*.jsonl", "data/raw/c.csv"]))
    assert found is not None and found.count == 270 and found.source == "3 files, by size"


def test_a_mix_takes_rows_until_a_source_ends() -> None:
    for name, count in (("a", 100), ("b", 1000)):
        line = json.dumps({"user": name * 80, "assistant": name * 80})
        Path(f"data/raw/{name}.jsonl").write_text(f"{line}\n" * count)
    mix = {"data/raw/a.jsonl": 1, "data/raw/b.jsonl": 3}
    found = find_rows(Settings.model_validate({"data": {"mix": mix}}))
    assert found is not None and found.count == 360  # 400 less the shares of val and test
    assert 70 < found.tokens < 90


def test_one_json_list_is_guessed_from_its_size() -> None:
    Path("data/raw/all.json").write_text(
        json.dumps([{"user": "x" * 300, "assistant": "y" * 350}] * 100)
    )
    found = find_rows(Settings())
    assert found is not None and 70 <= found.count <= 110


def test_a_hub_dataset_has_no_size_here() -> None:
    assert find_rows(raw("openai/gsm8k")) is None


def test_no_data_says_where_to_put_it() -> None:
    Path("data/raw/.gitkeep").touch()
    with pytest.raises(DataError) as caught:
        find_rows(Settings())
    assert "put a file there" in caught.value.todo


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"nothere\.json"):
        find_rows(raw("nothere.json"))
