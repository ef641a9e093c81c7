"""runs.show on a run that was handed over, with damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.host.runs import detail
from tests.host.conftest import RunTask
from tests.host.runfolders import write_eval, write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_run_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", handed_over=True)
    write_eval(run)
    run.events.write_text(run.events.read_text() + "garbage\n")
    (run.launch).mkdir()
    (run.launch / "start-001.json").write_text("{}")
    detail.show("a")
    out, err = capsys.readouterr()
    for words in (
        "a: finished",
        "unsloth → bnb",
        "from 01-unsloth: no_gpu",
        "learning_rate 0.001",
        "ROUGE-L (0 to 100)",
        "garbage",
        "torch",
    ):
        assert words in out
    assert "1 line not readable" in err
    assert "last start" in out


def test_an_optimizer_is_named_as_in_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a")
    record = json.loads(run.record.read_text())
    record["effective"] = {
        **record.get("effective", {}),
        "optimizer": "OptimizerNames.ADAMW_TORCH_FUSED",
    }
    run.record.write_text(json.dumps(record))
    detail.show("a")
    out = capsys.readouterr().out
    assert "adamw_torch_fused" in out
    assert "OptimizerNames" not in out


def test_numbers_are_rounded_and_hashes_short(
    checkout: Path, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    run = write_run("a", data_hash="sha256:" + "0123456789abcdef" * 4)
    record = json.loads(run.record.read_text())
    effective = {"trainable_parameters": 4884480, "share": 0.8924303, "empty": {}, "seed": 42}
    run.record.write_text(json.dumps({**record, "effective": effective}))
    end = run_task("runs.show", "a")
    assert end.returncode == 0, end.stderr
    for words in ("sha256:0123456789ab…", "4,884,480", "0.8924", "seed"):
        assert words in end.stdout, words
    for words in ("abcdef0123", "4884480", "0.892430", "empty"):
        assert words not in end.stdout, words
