"""The result of `inv gpu.accept`: steps with rows, as a JSON file, as a table, and compared with an
earlier one.

Written by the stage `accept` after every step; read by the host and by the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sftplay.errors import DataError, SftplayError
from sftplay.files import write_json
from sftplay.places import OUTPUTS
from sftplay.untrusted import read_json

SCHEMA = 1
RESULT = OUTPUTS / ".accept" / "result.json"  # unless --out names another
WORK = OUTPUTS / ".accept" / "work"  # the project that the steps train in
CONFIG = "accept.yaml"  # its config
FORECAST = "peak memory and its forecast"  # the row that the host completes
FORECAST_LIMIT = 0.15  # relative, on a GPU
SLOWER = 0.10  # a larger loss of tokens/s than this fails a comparison
SPEED = "tokens_per_second"  # the one value of a row that is compared
State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class AcceptanceRow:
    """One thing that was looked at.

    Attributes:
        reason: why it failed or was skipped; else what there is to say.
        values: figures by name, with the unit in the name.
    """

    name: str
    state: State
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AcceptanceStep:
    """Rows that one process found."""

    name: str
    title: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    rows: tuple[AcceptanceRow, ...] = ()


@dataclass(frozen=True)
class Acceptance:
    """A whole result.

    Attributes:
        device: cuda or cpu; machine: name of the GPU, or of the processor.
        facts: driver, capability, memory and the like. No host name.
        model: how large the model was, and what it was made from.
    """

    date: str
    device: str
    machine: str
    stack: str
    minutes: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    steps: tuple[AcceptanceStep, ...] = ()

    def with_step(self, step: AcceptanceStep) -> Acceptance:
        """Return the result with one more step."""
        return replace(self, steps=(*self.steps, step))

    def rows(self) -> Iterator[tuple[str, AcceptanceRow]]:
        """Yield every row with its step's name."""
        for step in self.steps:
            for row in step.rows:
                yield step.name, row

    def failures(self) -> list[str]:
        """Return what failed, a sentence each."""
        found = [
            f"{step}: {row.name}: {row.reason}"
            for step, row in self.rows()
            if row.state == "failed"
        ]
        broken = (step for step in self.steps if step.state == "failed")
        return [*(f"{one.name}: {one.reason}" for one in broken if one.reason), *found]


def write(path: Path, result: Acceptance) -> None:
    """Write the result, in place of an earlier state of it."""
    write_json(path, {"schema": SCHEMA, **asdict(result)})


def read(path: Path) -> Acceptance:
    """Read a result.

    Raises:
        NotFoundError: no such file (66). DataError: not a result, or one of another schema (65).
    """
    value = read_json(path)
    try:
        if value.pop("schema") != SCHEMA:
            raise ValueError(f"another schema than {SCHEMA}")
        steps = tuple(read_step(step) for step in value.pop("steps"))
        return Acceptance(**value, steps=steps)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"not a result of inv gpu.accept: {error}", where=str(path), todo="name another file"
        ) from error


def read_step(value: Mapping[str, Any]) -> AcceptanceStep:
    """Return a step from its JSON value."""
    rows = tuple(AcceptanceRow(**row) for row in value["rows"])
    return AcceptanceStep(**{**value, "rows": rows})


def compare(old: Acceptance, new: Acceptance) -> list[str]:
    """List what is worse than before: failed rows, and tokens/s that fell by more than 10 %. Pure."""
    found = new.failures()
    before = {(step, row.name): row.values.get(SPEED) for step, row in old.rows()}
    for step, row in new.rows():
        then, now = before.get((step, row.name)), row.values.get(SPEED)
        if then and now and now < (1 - SLOWER) * then:
            found.append(
                f"{step}: {row.name}: {now:.0f} tokens/s, {now / then - 1:.0%} of {then:.0f}"
            )
    measured = {(step, row.name) for step, row in new.rows() if row.values.get(SPEED)}
    lost = [key for key, speed in before.items() if speed and key not in measured]
    return [*found, *(f"{step}: {name}: has no tokens/s any more" for step, name in lost)]


def comparable(results: Sequence[tuple[Path, Acceptance]], new: Acceptance) -> Path | None:
    """Return the newest earlier result of the same kind of machine and stack."""
    alike = [
        (one.date, path)
        for path, one in results
        if (one.device, one.machine, one.stack) == (new.device, new.machine, new.stack)
        and one.date < new.date
    ]
    return max(alike)[1] if alike else None


def read_all(folder: Path) -> list[tuple[Path, Acceptance]]:
    """Read every result in a folder, oldest first; a file that is none is passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append((path, read(path)))
        except SftplayError:
            continue
    return sorted(found, key=lambda one: one[1].date)


def lines(result: Acceptance) -> Iterator[str]:
    """Yield the result as text, a row a line."""
    yield f"{result.machine} ({result.device}), {result.stack} stack, {result.date}"
    yield f"model: {result.model}"
    for step in result.steps:
        yield f"{step.state.upper():<7} {step.name}: {step.title}, {step.seconds:.0f} s{_tail(step.reason)}"
        for row in step.rows:
            yield f"        {row.state:<7} {row.name}{_figures(row.values)}{_tail(row.reason)}"


def _tail(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _figures(values: Mapping[str, Any]) -> str:
    shown = ", ".join(
        f"{name} {_number(value)}"
        for name, value in values.items()
        if not isinstance(value, list | dict)
    )
    return f": {shown}" if shown else ""


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(result: Acceptance) -> str:
    """Return the result as a section of a page."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    facts = ", ".join(
        f"{name} {value}"
        for name, value in result.facts.items()
        if not isinstance(value, list | dict)
    )
    out = [f"### {result.machine}, {result.stack} stack, {result.date[:10]}", ""]
    out += [f"Model: {result.model}. {facts}.", "", f"Versions: {versions}.", ""]
    out += ["| step | row | state | figures |", "|---|---|---|---|"]
    for step in result.steps:
        if not step.rows:
            out.append(f"| {step.name} | | {step.state} | {_cell(step.reason)} |")
        for row in step.rows:
            figures = (_figures(row.values) + _tail(row.reason)).removeprefix(": ")
            out.append(f"| {step.name} | {_cell(row.name)} | {row.state} | {_cell(figures)} |")
    return "\n".join(out) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
