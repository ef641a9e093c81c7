"""`inv gpu.accept` and `inv gpu.compare`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sftplay import acceptance, console
from sftplay.acceptance import Acceptance
from sftplay.call import StageCall
from sftplay.errors import MachineError, RefusedError
from sftplay.host.acceptance.forecast import with_forecast
from sftplay.host.launch.request import LaunchRequest
from sftplay.host.launch.stage import start
from sftplay.host.system.checkout import CHECKOUT
from sftplay.locks import hold
from sftplay.stages import BY_NAME

RESULTS = CHECKOUT / "docs" / "gpu"  # results on record


def run(
    *,
    device: str,
    minutes: int | None,
    out: str | None,
    model: str | None,
    runner: str,
    config: str | None,
    overrides: Sequence[str],
) -> int:
    """Run the acceptance, add the forecast of memory, and print the table.

    Returns:
        0, or the exit code of the stage.

    Raises:
        BusyError: another one runs in this project (75).
        MachineError: something failed (69); the result is written all the same.
    """
    options = {"minutes": minutes, "out": out, "model": model}
    given = {key: value for key, value in options.items() if value is not None}
    settings = (*overrides, f"train.device={device}")
    call = StageCall(BY_NAME["accept"], config, None, settings, given)
    path = Path(out) if out else acceptance.RESULT
    with hold(
        acceptance.WORK.with_name("lock"),
        what="this check",
        who="inv gpu.accept",
        todo="wait for it",
    ):
        code = start(LaunchRequest(call, runner))
        if code:
            return code
        result = with_forecast(acceptance.read(path))
        shutil.rmtree(acceptance.WORK, ignore_errors=True)
    acceptance.write(path, result)
    for line in acceptance.lines(result):
        console.result(line)
    _judge(result, path)
    return 0


def _judge(result: Acceptance, path: Path) -> None:
    failures = result.failures()
    if failures:
        more = f" ({len(failures)} in all)" if failures[1:] else ""
        raise MachineError(
            f"this machine did not pass: {failures[0]}{more}",
            where=str(path),
            todo="the table above has every row; what failed is not to be relied on here",
        )
    skipped = [step.name for step in result.steps if step.state == "skipped"]
    console.success(
        f"nothing failed{f'; not looked at: {chr(44).join(skipped)}' if skipped else ''}: {path}"
    )


def compare(new: str, old: str | None) -> int:
    """Compare a result with an earlier one of the same GPU and stack.

    Args:
        old: default: the newest in docs/gpu/.

    Returns:
        0, also where there is no earlier one.

    Raises:
        RefusedError: a row failed, or lost more than 10 % of its tokens/s (76).
    """
    result = acceptance.read(Path(new))
    path = Path(old) if old else acceptance.comparable(acceptance.read_all(RESULTS), result)
    if path is None:
        console.info(
            f"no earlier result of {result.machine}, {result.stack} stack, in docs/gpu: "
            "only failed rows count"
        )
    before = acceptance.read(path) if path else result
    problems = acceptance.compare(before, result)
    for problem in problems:
        console.error(problem)
    if problems:
        raise RefusedError(
            f"{console.count_of(len(problems), 'row')} worse than {path or 'expected'}",
            where=new,
            todo="look at the rows above; the same command on an idle machine tells a slow one from a slower version",
        )
    console.success(
        f"no failed row, no loss of tokens/s over 10 %{f' against {path}' if path else ''}"
    )
    return 0
