"""The doctor's eyes, on folders that really are as they should not be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sftplay.host.doctor.gather import place
from tests.host.recorded_engine import as_nobody

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    found = place(tmp_path / "not" / "yet")
    assert (found.path, found.trouble, found.foreign) == (tmp_path / "not" / "yet", "", None)
    assert found.free is not None
    assert not list(tmp_path.iterdir())  # looking makes nothing


@only_root
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    assert as_nobody(lambda: place(tmp_path / "mine").trouble, tmp_path) == "Permission denied"


@only_root
def test_a_file_that_a_container_left_as_root(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs" / "run"
    outputs.mkdir(parents=True)
    (outputs / "adapter.safetensors").touch(mode=0o644)
    (outputs / "readable.json").touch(mode=0o644)
    for path in (tmp_path, outputs.parent, outputs, outputs / "readable.json"):
        os.chown(path, 65534, 65534)
    found = as_nobody(lambda: str(place(tmp_path, ("outputs",)).foreign), tmp_path)
    assert found == str(outputs / "adapter.safetensors")
    os.chown(outputs / "adapter.safetensors", 65534, 65534)
    assert as_nobody(lambda: str(place(tmp_path, ("outputs",)).foreign), tmp_path) == "None"


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    from sftplay.host.doctor import report

    code = report.run(runner="local", as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["code"] == code
    assert {finding["topic"] for finding in said["findings"]} >= {"machine", "gpu", "disk", "port"}
    assert [plan["task"] for plan in said["plan"]] == ["process", "train-bnb", "train-unsloth"]
