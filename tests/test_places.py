"""Folders of data, cache and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError
from sftplay.places import (
    cache_folder,
    data_folder,
    find_model,
    model_record,
    model_revision,
    output_file,
)
from sftplay.settings import Settings


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path / "cache"))


def settings(name: str = "owner/model", **data: str) -> Settings:
    return Settings.model_validate({"model": {"name": name, "revision": "v1"}, "data": data})


def test_a_named_dataset_has_folders_of_its_own() -> None:
    assert data_folder("tokenized", settings()) == Path("data/tokenized")
    assert data_folder("tokenized", settings(suffix="mine")) == Path("data/tokenized_mine")


def test_the_cache_is_the_users_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SFTPLAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/sftplay")


def test_a_fetched_model_is_found_by_its_record(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not in the cache"):
        find_model(settings())
    record = model_record("owner/model", "v1")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"folder": "models/snapshot", "revision": "abc"}))
    with pytest.raises(NotFoundError, match="is gone"):
        find_model(settings())
    folder = tmp_path / "cache/models/snapshot"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert find_model(settings()) == folder
    assert model_revision(settings()) == "abc"


def test_a_folder_is_used_where_it_is() -> None:
    with pytest.raises(NotFoundError, match="no model there"):
        find_model(settings("./mine"))
    Path("mine").mkdir()
    Path("mine/config.json").write_text("{}")
    assert find_model(settings("./mine")) == Path("mine")
    assert model_revision(settings("./mine")) is None


def test_folders_of_an_output_are_made_in_the_project_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    for given in ("new/x.html", "x.html", str(tmp_path / "x.html"), str(tmp_path / "project/a/x")):
        assert output_file(given) == Path(given)
    for given in ("../nope/x.html", str(tmp_path / "nope/x.html")):
        with pytest.raises(NotFoundError, match="no such folder") as refused:
            output_file(given)
        assert "mkdir -p" in refused.value.todo
    assert not (tmp_path / "nope").exists()
