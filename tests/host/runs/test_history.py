from pathlib import Path

import pytest

from sftplay.config import dump_config, load_config
from sftplay.files import write_json
from sftplay.host.runs.history import find_run
from sftplay.locks import hold
from sftplay.manifest import sealed_folder
from sftplay.runs import Run
from sftplay.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    Path("first.yaml").write_text("train: {max_steps: 5}\n")
    return load_config(Path("first.yaml"))


def make_run(name: str, settings: Settings, data_hash: str, *, finished: bool) -> Run:
    run = Run(name)
    run.folder.mkdir(parents=True)
    run.config.write_text(
        dump_config(
            settings.model_copy(update={"run": settings.run.model_copy(update={"name": name})})
        )
    )
    write_json(run.stamp, {"data_hash": data_hash})
    if finished:
        with sealed_folder(run.adapter, {}) as folder:
            (folder / "weights").write_text("w")
    return run


def test_the_first_start_takes_the_configs_name(settings: Settings) -> None:
    found = find_run(settings, "sha256:a")
    assert (found.run.name, found.state, found.resume) == ("first", "new", False)


def test_the_same_data_and_config_have_been_trained(settings: Settings) -> None:
    make_run("first", settings, "sha256:a", finished=True)
    found = find_run(settings, "sha256:a")
    assert (found.run.name, found.state) == ("first", "finished")


def test_an_interrupted_one_is_resumed(settings: Settings) -> None:
    make_run("first", settings, "sha256:a", finished=False)
    found = find_run(settings, "sha256:a")
    assert (found.run.name, found.state, found.resume) == ("first", "interrupted", True)


def test_one_that_is_being_trained_is_watched(settings: Settings) -> None:
    run = make_run("first", settings, "sha256:a", finished=False)
    with hold(run.launch_lock, who="the supervisor of a training"):
        assert (find_run(settings, "sha256:a").state, find_run(settings, "sha256:a").resume) == (
            "running",
            False,
        )


def test_other_data_or_another_config_get_the_next_free_name(settings: Settings) -> None:
    make_run("first", settings, "sha256:a", finished=True)
    assert find_run(settings, "sha256:b").run.name == "first-2"
    other = settings.model_copy(
        update={"train": settings.train.model_copy(update={"max_steps": 6})}
    )
    make_run("first-2", other, "sha256:a", finished=True)
    assert find_run(other, "sha256:a").run.name == "first-2"
    assert find_run(other, "sha256:c").run.name == "first-3"


def test_a_run_that_can_not_be_read_is_passed_over(settings: Settings) -> None:
    run = make_run("first", settings, "sha256:a", finished=True)
    run.stamp.write_text("{")
    assert find_run(settings, "sha256:a").run.name == "first-2"
    assert run.stamp.read_text() == "{"
