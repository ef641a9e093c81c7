"""Results of `inv check --numerics` on this machine: methods and precisions that train correctly in
each stack.

Written by the stage `numerics` into the cache; read by `doctor` on the host and where a precision
is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sftplay.errors import SftplayError
from sftplay.files import write_json
from sftplay.places import cache_folder
from sftplay.processor import processor_flags, processor_name
from sftplay.untrusted import read_json

METHODS = ("qlora", "lora", "dora", "full")
SCHEMA = 1


@dataclass(frozen=True)
class MethodResult:
    """One method in one precision, two optimizer steps next to plain PyTorch in fp32.

    Attributes:
        loss, gradient, weights: largest relative difference over the steps: of the loss, of the
        norm of the gradient, and of
            what the optimizer has added to the weights.
        error: what it raised instead.
    """

    method: str
    precision: str
    loss: float = 0.0
    gradient: float = 0.0
    weights: float = 0.0
    passed: bool = False
    error: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of one stack on one machine.

    Attributes:
        machine: GPU, or processor with the instruction sets that kernels are chosen by; lock: hash
            of the stack's lock.
    """

    stack: str
    device: str
    machine: str
    lock: str | None
    rows: tuple[MethodResult, ...]

    def failing(self) -> list[MethodResult]:
        """Return the rows that did not pass."""
        return [row for row in self.rows if not row.passed]


def machine_name(gpu: str | None) -> str:
    """Return what kernels are chosen by: the GPU, or the processor with its instruction sets."""
    return gpu or " ".join((processor_name(), *processor_flags()))


def table_path(stack: str) -> Path:
    """Return the file in the cache."""
    return cache_folder() / "numerics" / f"table-{stack}.json"


def write_table(table: Table) -> Path:
    """Write a table, in place of an older one of its stack."""
    path = table_path(table.stack)
    write_json(path, {"schema": SCHEMA, **asdict(table)})
    return path


def read_table(stack: str) -> Table | None:
    """Return what was found last for a stack, on whatever machine; None where nothing was, or the
    file is damaged.
    """
    try:
        value = read_json(table_path(stack))
        rows = tuple(MethodResult(**row) for row in value["rows"])
        return Table(value["stack"], value["device"], value["machine"], value["lock"], rows)
    except (SftplayError, OSError, KeyError, TypeError):
        return None


def failing_here(stack: str, lock: str | None, machine: str) -> Sequence[MethodResult]:
    """Return the rows that failed on this very machine, with this lock; none where that was not
    looked at.
    """
    table = read_table(stack)
    return table.failing() if table and (table.machine, table.lock) == (machine, lock) else ()


def precisions_failing(
    rows: Sequence[MethodResult], method: str, *, dora: bool
) -> Mapping[str, str]:
    """Return the precisions that a training of this kind must not choose by itself, each with the
    reason.
    """
    asked = "dora" if dora and method == "lora" else method
    return {
        row.precision: row.error
        or f"its gradient differed by {row.gradient:.2g} from plain PyTorch's"
        for row in rows
        if row.method == asked
    }


def shown(table: Table) -> list[str]:
    """Return the table as lines of text."""
    lines = ["method  precision      loss  gradient   weights"]
    for row in table.rows:
        figures = f"{row.loss:>9.1e} {row.gradient:>9.1e} {row.weights:>9.1e}"
        end = "passed" if row.passed else "FAILED" + (f": {row.error}" if row.error else "")
        lines.append(f"{row.method:<7} {row.precision:<9} {figures}  {end}")
    return lines
