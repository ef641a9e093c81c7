"""`inv gpu.compare`, and the forecast that `inv gpu.accept` adds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sftplay import acceptance
from sftplay.acceptance import FORECAST, Acceptance, AcceptanceRow, AcceptanceStep
from sftplay.errors import MachineError, RefusedError, UsageError
from sftplay.host.acceptance import command, forecast
from sftplay.host.cli.menu import namespace


def made(row: AcceptanceRow, device: str = "cuda") -> Acceptance:
    step = AcceptanceStep("memory", "", "passed", "", 1.0, (row,))
    return Acceptance("2026-11-30T00:00:00+00:00", device, "NVIDIA X", "bnb", 10, steps=(step,))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "RESULTS", tmp_path / "record")
    (tmp_path / "record").mkdir()
    return tmp_path


def test_a_first_result_is_judged_by_its_rows_alone(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    acceptance.write(results / "new.json", made(AcceptanceRow("a", "passed")))
    assert command.compare(str(results / "new.json"), None) == 0
    assert "no earlier result of NVIDIA X" in capsys.readouterr().err
    acceptance.write(results / "new.json", made(AcceptanceRow("a", "failed", "too slow")))
    with pytest.raises(RefusedError, match="1 row worse"):
        command.compare(str(results / "new.json"), None)


def test_the_newest_on_record_is_compared_with(results: Path) -> None:
    before = made(AcceptanceRow("a", "passed", values={"tokens_per_second": 100.0}))
    acceptance.write(results / "record" / "x.json", replace(before, date="2026-11-01"))
    slower = made(AcceptanceRow("a", "passed", values={"tokens_per_second": 80.0}))
    acceptance.write(results / "new.json", slower)
    with pytest.raises(RefusedError, match=r"worse than .*x\.json"):
        command.compare(str(results / "new.json"), None)
    assert command.compare(str(results / "new.json"), str(results / "new.json")) == 0


def test_a_result_has_to_be_named() -> None:
    from invoke.context import Context
    from invoke.exceptions import Exit

    with pytest.raises(Exit) as ended:
        namespace["gpu.compare"](Context(), file=[])
    assert ended.value.code == UsageError.code


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenized_work: Path) -> Path:
    """The work folder that the stage leaves behind."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tokenized_work, tmp_path / acceptance.WORK)
    return tmp_path / acceptance.WORK


@pytest.fixture(scope="session")
def tokenized_work(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Any) -> Path:
    folder = tmp_path_factory.mktemp("accept")
    shutil.copytree(tiny_model, folder / "model")
    (folder / "rows.jsonl").write_text(
        "".join(f'{{"user": "What is {n}?", "assistant": "It is {n}."}}\n' for n in range(30))
    )
    (folder / acceptance.CONFIG).write_text(
        "model: {name: ./model, max_length: 256}\n"
        "data: {raw: rows.jsonl, test_share: 0}\ntrain: {device: cpu}\n"
    )
    for stage in ("process", "render", "tokenize"):
        ran = box.run(stage, "--config", acceptance.CONFIG, cwd=folder)
        assert ran.code == 0, ran.err
    return folder


@pytest.mark.usefixtures("work")
def test_the_forecast_stands_next_to_the_measured_peak() -> None:
    row = AcceptanceRow(FORECAST, "passed", values={"peak_mb": 1000.0})
    (step,) = forecast.with_forecast(made(row, "cpu")).steps
    values = step.rows[0].values
    assert values["forecast_mb"] > 1000  # the libraries alone
    assert values["error_percent"] == round(values["forecast_mb"] / 10 - 100, 1)
    assert (step.state, step.rows[0].state) == ("passed", "passed")


@pytest.mark.parametrize(("error", "state"), [(0.1, "passed"), (-0.2, "failed")])
def test_on_a_gpu_it_has_to_be_within_15_percent(
    error: float, state: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sftplay.host.estimate.forecast import Estimate

    monkeypatch.setattr(forecast, "_forecast", lambda device: Estimate((1 + error) * 1e9, 1.4))
    row = AcceptanceRow(FORECAST, "passed", values={"peak_mb": 1000.0})
    (step,) = forecast.with_forecast(made(row)).steps
    assert (step.state, step.rows[0].state) == (state, state)


def test_without_what_the_forecast_is_made_from_the_row_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / acceptance.WORK).mkdir(parents=True)
    row = AcceptanceRow(FORECAST, "passed", values={"peak_mb": 1000.0})
    (step,) = forecast.with_forecast(made(row, "cpu")).steps
    assert step.rows[0].state == "failed" and "no forecast" in step.rows[0].reason


def test_a_machine_that_does_not_pass_ends_the_command(tmp_path: Path) -> None:
    failed = made(AcceptanceRow("a", "failed", "the loss did not fall"))
    with pytest.raises(MachineError, match="did not pass: memory: a: the loss did not fall"):
        command._judge(failed, tmp_path / "out.json")
