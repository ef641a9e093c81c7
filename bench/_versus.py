"""Contestants take turns (A B C A B C …) on the same work; what counts is the ratio between them,
not the seconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bench._measure import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def parser_of(name: str, rounds: int) -> argparse.ArgumentParser:
    """The options of every benchmark whose contestants take turns; --rows is each one's own."""
    parser = argparse.ArgumentParser(prog=f"inv bench {name}")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        metavar="NAME,…",
        help="some of the contestants",
    )
    parser.add_argument(
        "--write", action="store_true", help="put the tables into docs/benchmarks.md"
    )
    return parser


@dataclass(frozen=True)
class Taken:
    """One turn.

    Attributes:
        seconds: of the work that is compared; peak_mb: of the whole process; cpu: seconds of
            processor time, all of it.
        facts: whatever else is worth a look.
    """

    seconds: float
    peak_mb: float
    cpu: float
    facts: Mapping[str, Any] = field(default_factory=dict)


Turns = Mapping[str, list[Taken]]


def take_turns(contestants: Mapping[str, Callable[[], Taken]], rounds: int) -> Turns:
    """Run them all, one after the other, as many rounds as asked for.

    Who fails once is left out, with what it said.
    """
    turns: dict[str, list[Taken]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            if len(turns.get(name, ())) < number:
                continue
            try:
                taken = run()
            except RuntimeError as error:
                print(f"round {number + 1}  {name:<28} failed: {str(error)[-2000:]}", flush=True)
                continue
            turns[name].append(taken)
            print(
                f"round {number + 1}  {name:<28} {taken.seconds:8.1f} s  {taken.peak_mb:6.0f} MB  {taken.cpu:7.1f} s of CPU",
                flush=True,
            )
    return {name: taken for name, taken in turns.items() if taken}


def ratios(turns: Turns, ours: str, theirs: str, of: Callable[[Taken], float]) -> str:
    """theirs / ours: the ratio of medians, and the smallest and largest of one round."""
    if ours not in turns or theirs not in turns:
        return "not measured"
    ratio = statistics.median(map(of, turns[theirs])) / statistics.median(map(of, turns[ours]))
    each = [of(b) / of(a) for a, b in zip(turns[ours], turns[theirs], strict=False)]
    return f"{ratio:.2f} ×" + (
        f" ({min(each):.2f} to {max(each):.2f})" if len(each) > 1 else " (one round)"
    )


def seconds(taken: Taken) -> float:
    """Time that is compared most often."""
    return taken.seconds


def peak(taken: Taken) -> float:
    """Peak memory."""
    return taken.peak_mb


def show(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Print a Markdown table with its title and notes, and return it for `write`."""
    widths = [max(len(str(row[place])) for row in [head, *rows]) for place in range(len(head))]
    lines = [
        "| "
        + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        + " |"
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    text = "\n".join(
        [f"### {title}", "", *lines, *([""] if notes else []), *(f"- {note}" for note in notes)]
    )
    print("\n" + text, flush=True)
    return text


def write(name: str, tables: Sequence[str]) -> None:
    """Put the tables into docs/benchmarks.md, in place of what this benchmark wrote there before."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- end of {name} -->"
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Benchmarks\n"
    section = "\n\n".join([begin, f"## inv bench {name}", surroundings(), *tables, end])
    if begin in text:
        text = text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
    else:
        text = text.rstrip("\n") + "\n\n" + section + "\n"
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"\nwritten to {DOCUMENT.relative_to(ROOT)}")


def surroundings() -> str:
    """Date, versions and class of the machine; never its name."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        facts = dict(
            line.split(":", 1) for line in lines if ":" in line and not line.startswith("processor")
        )
    model, flags = facts.get("model name\t", "?").strip(), facts.get("flags\t\t", "").split()
    wide = next(
        (flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags),
        "no AVX2",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    return (
        f"{date.today().isoformat()}; {os.cpu_count()} cores, {model} ({wide}), {memory:.0f} GB of memory; "
        f"Python {platform.python_version()}, {versions}. Load when written: {os.getloadavg()[0]:.1f}."
    )
