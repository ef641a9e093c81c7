"""Run folders that a hostile container has left: none of them stops the others, or a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sftplay.errors import SftplayError
from sftplay.files import write_json
from sftplay.host.protocol import records
from sftplay.host.report import command as report
from sftplay.host.runs import clean, compare, detail, live, logs, ps, replay_checks, table
from sftplay.host.runs.view import read_run
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from tests.host.runfolders import write_data, write_eval, write_run
from tests.hostile import KINDS, SECRET, replace

FILES = (
    "run.json",
    "backend.json",
    "config.yaml",
    "data.json",
    "events.jsonl",
    "chat_template.jinja",
    "eval/val/metrics.json",
    "eval/val/samples.jsonl",
    "gguf/proof.json",
    "attempts/01-bnb/progress.json",
    "attempts/01-bnb/steps.jsonl",
    "attempts/01-bnb/train.log",
    "launch/start-001.json",
    "launch/exit-001.json",
    "launch/asked-001",
    "adapter/manifest.json",
    ".launch.lock",
    ".run.lock",
)
SHOWN_AS_DAMAGED = ("run.json", "backend.json", "events.jsonl", "metrics.json", "progress.json")
DISGUISED = ("number", "list", "null", "other object", "not finite", "empty")
LONGEST = 5.0  # seconds


def whole_run(name: str) -> Run:
    run = write_run(name)
    write_eval(run)
    write_data(run)
    start = records.new_start(run.launch, ["train"], stack="cpu", runner="local")
    records.write_exit(run.launch, start, code=0, asked="")
    run.template.write_text("{{ messages }}")
    run.gguf.mkdir()
    (run.gguf / "proof.json").write_text('{"files": {}}')
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_run_stops_a_command(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good = whole_run("good")
    hostile = {file: whole_run(f"bad-{number:02d}") for number, file in enumerate(FILES)}
    for file, run in hostile.items():
        replace(run.folder / file, kind)

    for command in (
        table.show,
        lambda: table.show(as_json=True),
        live.status,
        ps.show,
        lambda: detail.show("good"),
        lambda: logs.show("good"),
        lambda: report.write("good"),
        lambda: clean.run(runs=True, yes=False),
    ):
        within(LONGEST, command, may_refuse=command is not table.show)
    shown = capsys.readouterr()
    assert "damaged" not in shown.out.partition("good")[2].splitlines()[0]
    assert read_run(good).problems == ()

    for run in hostile.values():
        for each in (
            lambda run=run: detail.show(run.name),
            lambda run=run: logs.show(run.name),
            lambda run=run: report.write(run.name),
            lambda run=run: compare.compare(["good", run.name]),
            lambda run=run: replay_checks.changed(run, read_stamp(run.stamp)),
        ):
            within(LONGEST, each, may_refuse=True)
    seen = capsys.readouterr()
    pages = "".join(page.read_text() for page in Path("outputs").glob("**/*.html"))
    assert SECRET not in seen.out + seen.err + pages


def within(limit: float, command: Callable[[], object], *, may_refuse: bool) -> None:
    """Run a command: no failure but one of ours, and soon."""
    began = time.monotonic()
    try:
        command()
    except SftplayError as error:
        assert may_refuse, error
        assert error.code > 1
    assert time.monotonic() - began < limit


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DISGUISED])
def test_what_is_damaged_is_shown_as_damaged(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, file in enumerate(FILES):
        if Path(file).name not in SHOWN_AS_DAMAGED:
            continue
        run = whole_run(f"bad-{number:02d}")
        replace(run.folder / file, kind)
        problems = read_run(run).problems
        assert any(Path(file).name in problem for problem in problems), (file, problems)


def test_a_link_on_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run("bad")
    (tmp_path / "elsewhere/val").mkdir(parents=True)
    write_json(tmp_path / "elsewhere/val/metrics.json", {"metrics": {}})
    (run.folder / "eval").symlink_to(tmp_path / "elsewhere")
    assert "metrics.json" in " ".join(read_run(run).problems)


def test_a_run_that_the_user_has_linked_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run("linked")
    run.folder.rename(tmp_path / "other-disk")
    run.folder.symlink_to(tmp_path / "other-disk")
    assert read_run(run).problems == ()
