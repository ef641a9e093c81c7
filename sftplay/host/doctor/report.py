"""The report: on the screen, or as JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from sftplay import console
from sftplay.errors import MachineError, UsageError
from sftplay.host.doctor import engine_rules, machine_rules
from sftplay.host.doctor.facts import MachineFacts
from sftplay.host.doctor.findings import MachineFinding
from sftplay.host.doctor.gather import gather
from sftplay.host.doctor.stack_choices import StackChoice, choose_stacks
from sftplay.host.local import active
from sftplay.host.select.choose import RUNNERS, needs_no_engine

_MARKS = {"ok": ("✓", "32"), "note": ("·", "34"), "warning": ("!", "33"), "error": ("✗", "31")}
_WIDTH = 9  # of the column of topics


def run(*, runner: str = "auto", as_json: bool = False) -> int:
    """Gather, judge, show. 0, or 69 where something keeps the asked-for runs from working.

    Args:
        runner: which runner the person wants to use: `docker` makes trouble with the engine an
            error.

    Raises:
        UsageError: no such runner (2).
    """
    if runner not in RUNNERS:
        raise UsageError(
            f"--runner requires one of {', '.join(RUNNERS)}, got {runner!r}",
            todo="leave it out: auto",
        )
    facts = gather(engine=not needs_no_engine(runner, active.named()))
    findings, plans = judge(facts, runner), choose_stacks(facts, runner)
    code = MachineError.code if any(finding.level == "error" for finding in findings) else 0
    if as_json:
        console.result(
            json.dumps(
                {
                    "code": code,
                    "findings": [asdict(f) for f in findings],
                    "plan": [asdict(p) for p in plans],
                },
                indent=2,
            )
        )
    else:
        for line in lines(findings, plans):
            console.result(line)
    return code


def judge(facts: MachineFacts, asked: str) -> list[MachineFinding]:
    """Every rule's findings, in the order of the report. `local` asks nothing of the engine."""
    found = [*machine_rules.system(facts), *machine_rules.python(facts), *machine_rules.gpu(facts)]
    found += machine_rules.numerics(facts)
    if asked != "local":
        found += [*engine_rules.engine(facts, asked), *engine_rules.images(facts, asked)]
        found += [*engine_rules.gpu_in_containers(facts, asked), *engine_rules.compose(facts)]
    found += [
        *engine_rules.disks(facts, asked),
        *machine_rules.shm(facts),
        *machine_rules.folders(facts),
    ]
    return [*found, *machine_rules.port(facts)]


def lines(findings: Sequence[MachineFinding], plans: Sequence[StackChoice]) -> list[str]:
    """The report's lines: what was found with what to do about it, then what would run where."""
    out = []
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        # the mark alone: text in the terminal's own color reads on any background
        line = _fitted(f"{mark} {finding.topic:<{_WIDTH}} {finding.said}", _WIDTH + 3)
        out.append(_coloured(mark, colour) + line[1:])
        if finding.todo:
            out.append(_fitted(f"  {'':<{_WIDTH}} next: {finding.todo}", _WIDTH + 9))
    out.append("")
    width = max(len(plan.task) for plan in plans)
    for plan in plans:
        what = plan.trouble or f"{plan.runner} runner, {plan.stack} stack ({plan.reason})"
        out.append(_fitted(f"  inv {plan.task:<{width}}  {what}", width + 8))
    return out


def _fitted(line: str, indent: int) -> str:
    """A line broken between words where it goes to a terminal that is narrower."""
    if not sys.stdout.isatty():
        return line
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _coloured(text: str, colour: str) -> str:
    plain = (
        not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    )
    return text if plain else f"\x1b[1;{colour}m{text}\x1b[0m"
