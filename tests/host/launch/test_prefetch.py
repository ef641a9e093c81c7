"""Fetches before a stage starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.errors import ConfigError
from sftplay.freshness import DataStamp
from sftplay.host.launch.prefetch import missing
from sftplay.settings import DataSettings, ModelSettings, Settings
from sftplay.stages import BY_NAME

HUB = Settings(
    model=ModelSettings(name="./model"),
    data=DataSettings(raw=["data/raw", "owner/rows", "owner/more:x"]),
)
LACKING = [({"only": "data"}, "owner/rows, owner/more")]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path / "cache"))


def test_hub_datasets_are_fetched_for_the_stages_that_read_them() -> None:
    assert list(missing(StageCall(BY_NAME["process"]), HUB)) == LACKING
    assert list(missing(StageCall(BY_NAME["train"]), HUB)) == LACKING
    assert not list(missing(StageCall(BY_NAME["render"]), HUB))
    for number, dataset in enumerate(("owner--rows@main", "owner--more@main-2d711642b726")):
        Path("cache/datasets").mkdir(parents=True, exist_ok=True)
        Path(f"cache/{number}").touch()
        record = {"folder": ".", "files": [str(number)]}
        Path(f"cache/datasets/{dataset}.json").write_text(json.dumps(record))
    assert not list(missing(StageCall(BY_NAME["process"]), HUB))


def test_training_on_rows_that_were_made_before_needs_no_hub() -> None:
    folder = Path("data/processed")
    folder.mkdir(parents=True)
    DataStamp("process", "", {"data.raw": HUB.data.raw}).write(folder)
    assert not list(missing(StageCall(BY_NAME["train"]), HUB))
    DataStamp("process", "", {"data.raw": "data/raw"}).write(folder)
    assert list(missing(StageCall(BY_NAME["train"]), HUB)) == LACKING
    mixed = {"data/raw/a.jsonl": 1.0, "owner/rows": 2.0}
    mix = HUB.model_copy(update={"data": DataSettings(mix=mixed)})
    assert next(missing(StageCall(BY_NAME["train"]), mix)) == ({"only": "data"}, "owner/rows")
    DataStamp("process", "", {"data.raw": "data/raw", "data.mix": mixed}).write(folder)
    assert ({"only": "data"}, "owner/rows") not in missing(StageCall(BY_NAME["train"]), mix)


def test_the_data_comes_before_the_model() -> None:
    settings = HUB.model_copy(update={"model": ModelSettings(name="owner/model")})
    assert list(missing(StageCall(BY_NAME["train"]), settings)) == [
        *LACKING,
        ({"only": "model"}, "owner/model"),
    ]


def test_datasets_of_lm_evals_tasks_are_fetched() -> None:
    """Of public ones by the record that `fetch` wrote, of a file by what it names."""
    Path("task.yaml").write_text("task: a\ndataset_path: owner/rows\n")

    def lacking(tasks: str) -> list[object]:
        call = StageCall(BY_NAME["eval"], options={"tasks": tasks})
        return [options["tasks"] for options, _ in missing(call, HUB)]

    assert lacking("task.yaml,arc_easy") == ["task.yaml,arc_easy"]
    Path("cache/datasets").mkdir(parents=True)
    Path("cache/file").touch()
    record = json.dumps({"folder": ".", "files": ["file"]})
    Path("cache/datasets/owner--rows@main.json").write_text(record)
    assert lacking("task.yaml,arc_easy") == ["arc_easy"]
    Path("cache/lm-eval").mkdir()
    listed = json.dumps({"datasets": [{"name": "owner/rows", "revision": None}]})
    Path("cache/lm-eval/arc_easy.json").write_text(listed)
    assert lacking("task.yaml,arc_easy") == []
    Path("task.yaml").write_text("task: a\nprocess_docs: !function evil.f\n")
    with pytest.raises(ConfigError, match="imports Python"):
        lacking("task.yaml")
