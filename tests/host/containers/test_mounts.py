from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.cli import parse_call, resolve
from sftplay.errors import UsageError
from sftplay.freshness import DataStamp
from sftplay.host.containers.mounts import gather, inside


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    for name in ("data/raw", "outputs", "configs"):
        (root / name).mkdir(parents=True)
    (root / "configs" / "run_bnb.yaml").write_text("backend: bnb\n")
    monkeypatch.chdir(root)
    return root


def binds(
    project: Path, stage: str, *options: str, config: str | None = None, **values: str
) -> dict[str, tuple[str, bool]]:
    overrides = [
        word for k, v in values.items() for word in ("--set", f"{k.replace('__', '.')}={v}")
    ]
    call = parse_call([stage, *(["--config", config] if config else []), *overrides, *options])
    found = gather(call, resolve(call), project)
    return {bind.target: (bind.source, bind.read_only) for bind in found}


def test_what_lies_in_the_project_needs_nothing_more(project: Path) -> None:
    assert binds(project, "train") == {}


def test_a_config_elsewhere_is_mounted_read_only_at_its_own_path(
    project: Path, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("backend: bnb\n")
    assert binds(project, "train", config=str(config)) == {str(config): (str(config), True)}


def test_relative_names_lead_to_the_same_place(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("backend: bnb\n")
    (project / "own.yaml").write_text("backend: bnb\n")
    assert binds(project, "train", config="../mine.yaml") == {
        "/mine.yaml": (str(tmp_path / "mine.yaml"), True)
    }
    assert binds(project, "train", config="own.yaml") == {
        "/sft/own.yaml": (str(project / "own.yaml"), True)
    }
    assert inside("~/models/x") == "/tmp/models/x"


def test_raw_files_elsewhere_and_patterns_of_them(project: Path, tmp_path: Path) -> None:
    raw = tmp_path / "rows"
    raw.mkdir()
    assert binds(project, "process", data__raw=f"{raw}/*.jsonl") == {str(raw): (str(raw), True)}
    assert binds(project, "eval", data__raw=f"{raw}/*.jsonl") == {}
    mix = f"{{{raw}/a.jsonl: 1, owner/dataset: 2}}"
    (raw / "a.jsonl").touch()
    assert [*binds(project, "process", data__mix=mix)] == [f"{raw}/a.jsonl"]
    assert binds(project, "process", data__raw="owner/dataset") == {}


@pytest.mark.parametrize("stage", ["style", "render", "train"])
def test_later_stages_see_the_files_that_rows_were_made_of(
    project: Path, tmp_path: Path, stage: str
) -> None:
    """Else they would say that the raw files are gone."""
    raw, template = tmp_path / "rows.jsonl", tmp_path / "mine.jinja"
    for path in (raw, template):
        path.touch()
    assert binds(project, stage, data__raw=str(raw)) == {str(raw): (str(raw), True)}
    made_with = {
        "process": ("processed", f"data.raw={raw}"),
        "render": ("rendered", f"data.chat_template={template}"),
    }
    for made, (folder, override) in made_with.items():
        (project / "data" / folder).mkdir()
        DataStamp(made, "", {}, overrides=(override,)).write(project / "data" / folder)
    assert binds(project, stage) == {str(path): (str(path), True) for path in (raw, template)}
    assert binds(project, "process") == {}


def test_a_name_that_leads_nowhere_is_left_to_the_stage(project: Path) -> None:
    assert binds(project, "process", data__raw="/nowhere/at/all.jsonl") == {}


def test_a_model_folder_of_links_as_the_hub_makes_it(project: Path, tmp_path: Path) -> None:
    blob = tmp_path / "hub" / "blobs" / "abc"
    snapshot = tmp_path / "hub" / "snapshots" / "1"
    for folder in (blob.parent, snapshot):
        folder.mkdir(parents=True)
    blob.touch()
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    found = binds(project, "train", model__name=str(snapshot))
    assert found == {str(snapshot): (str(snapshot), True), str(blob): (str(blob), True)}


def test_raw_data_that_is_a_link(project: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    (project / "data" / "raw" / "rows.jsonl").symlink_to(rows)
    assert binds(project, "process") == {str(rows): (str(rows), True)}


def test_the_newest_gguf_file_is_no_path(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.gguf"
    file.write_bytes(b"GGUF")
    (project / "newest").write_text("a file of this name")
    assert binds(project, "infer", "--gguf") == {}
    assert binds(project, "infer", f"--gguf={file}") == {str(file): (str(file), True)}


def test_answers_elsewhere_can_be_written(project: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").touch()
    found = binds(project, "infer", f"--input={tmp_path}/in.txt", f"--output={tmp_path}/out.jsonl")
    assert found == {
        f"{tmp_path}/in.txt": (f"{tmp_path}/in.txt", True),
        str(tmp_path): (str(tmp_path), False),
    }


@pytest.mark.parametrize("raw", ["/", "/usr", "/etc", "/proc/1", "/tmp"])
def test_a_mount_that_would_hide_the_system_is_refused(project: Path, raw: str) -> None:
    with pytest.raises(UsageError, match="hide"):
        binds(project, "process", data__raw=raw)
