"""Data that the datasets library can't read: which file and line our readers name instead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sftplay.errors import SftplayError
from sftplay.model.lmeval.faults import explain
from sftplay.task_file import read_task

GOOD = '{"q": "a"}\n'


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/good.jsonl").write_text(GOOD)
    monkeypatch.chdir(tmp_path)


def explained(error: Exception, content: str, *, name: str = "b", **more: object) -> SftplayError:
    Path("data", name).write_text(content)
    files = {"train": "data/good.jsonl", "test": [f"data/{name}"]}
    Path("t.yaml").write_text("task: x\ndataset_path: json\n")
    options = {"data_files": files, **more}
    config = SimpleNamespace(dataset_path="json", dataset_kwargs=options)
    return explain(error, config, read_task(Path("t.yaml"), trusted=False))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "data/b: the file has no rows"),
        (GOOD + '{"q": }\n', "data/b:2:7: not valid JSON"),
        (GOOD + "[1]\n", "data/b:2: the row is no object"),
        ('[{"q": 1},\n {"q": 2}', "data/b:2:"),
        (GOOD * 2, "its data can't be read: said by the library"),
    ],
)
def test_the_line_is_named(content: str, said: str) -> None:
    try:
        raise RuntimeError("an error occurred") from ValueError("said by\nthe library")
    except RuntimeError as error:
        found = explained(error, content)
    assert found.code == 65 and said in str(found), found
    assert "t.yaml" in found.todo


def test_an_option_that_a_format_does_not_have() -> None:
    error = TypeError("JsonConfig.__init__() got an unexpected keyword argument 'colour'")
    found = explained(error, GOOD, colour=1)
    assert (found.code, "dataset_kwargs.colour" in str(found)) == (78, True)


def test_a_value_that_an_option_can_not_have() -> None:
    found = explained(LookupError("unknown encoding: klingon"), GOOD, encoding="klingon")
    assert (found.code, "with encoding: unknown encoding: klingon" in str(found)) == (78, True)


def test_a_file_of_another_format() -> None:
    found = explained(ValueError("x"), "q,a\n1,2\n", name="b.csv")
    assert (found.code, found.todo) == (78, "dataset_path: csv")


def test_the_kind_of_a_librarys_error_is_not_shown() -> None:
    assert "'absent' is missing" in str(explained(KeyError("absent"), GOOD))
    assert "no reason is given" in str(explained(StopIteration(), GOOD))
