"""The peak that `inv check` forecasts for a training of the acceptance, next to the measured one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sftplay.acceptance import (
    CONFIG,
    FORECAST,
    FORECAST_LIMIT,
    WORK,
    Acceptance,
    AcceptanceRow,
    AcceptanceStep,
)
from sftplay.config import load_config
from sftplay.errors import SftplayError
from sftplay.host.estimate import forecast
from sftplay.host.estimate.forecast import Estimate
from sftplay.host.estimate.inputs import gather
from sftplay.host.system import machine, nvidia
from sftplay.host.system.working_directory import working_directory

_OF_THE_ROW = ("train.batch_size=4", "train.method=qlora", "train.max_steps=4")


def with_forecast(result: Acceptance) -> Acceptance:
    """Return the result with the forecast in its row. The acceptance's work folder is read."""
    return replace(
        result, steps=tuple(_completed_step(step, result.device) for step in result.steps)
    )


def _completed_step(step: AcceptanceStep, device: str) -> AcceptanceStep:
    rows = tuple(
        _completed(row, device) if row.name == FORECAST and row.state == "passed" else row
        for row in step.rows
    )
    failed = any(row.state == "failed" for row in rows)
    return replace(step, rows=rows, state="failed" if failed else step.state)


def _completed(row: AcceptanceRow, device: str) -> AcceptanceRow:
    try:
        with working_directory(WORK):
            amount = _forecast(device)
    except SftplayError as problem:
        return replace(row, state="failed", reason=f"no forecast: {problem}")
    measured = float(row.values["peak_mb"])
    error = amount.likely / 1e6 / measured - 1
    values: dict[str, Any] = {
        **row.values,
        "forecast_mb": amount.likely / 1e6,
        "error_percent": round(100 * error, 1),
    }
    if device == "cuda" and abs(error) > FORECAST_LIMIT:
        reason = f"the forecast is {error:+.0%} away (allowed {FORECAST_LIMIT:.0%})"
        return replace(row, state="failed", reason=reason, values=values)
    note = "" if device == "cuda" else "whole process; no limit on a CPU"
    return replace(row, values=values, reason=note)


def _forecast(device: str) -> Estimate:
    """Return the forecast of peak memory, as `inv check` makes it.

    Raises:
        SftplayError: what it is made from is not there.
    """
    settings = load_config(Path(CONFIG), list(_OF_THE_ROW))
    problems: list[SftplayError] = []
    cards = nvidia.query_gpus() if device == "cuda" else []
    plan = gather(settings, machine.read_machine(), cards, problems)
    if plan.shape is None or plan.rows is None or plan.device is None:
        raise problems[0]
    return forecast.memory(plan.settings, plan.shape, plan.rows, plan.device)
