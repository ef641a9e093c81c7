"""The data stages against the same work written otherwise, in turns on one machine: `inv bench data [--write] [--args='…']`.

`--rows N` (200,000), `--rounds N` (2), `--of FILE`: rows of a file, GSM8K's say, as often as need be and all different (made up
else; of those there are 142,400 different ones at most), `--only sftplay,bare`: some contestants, and no tokenizing.
Every figure is of whole processes, Python's start included. On a shared machine look at the ratios: the contestants take turns,
and a ratio is formed within each turn. CPU is user and system time, of children too.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench._baselines import STYLE
from bench._measure import Cost, measure, project_with, stage
from bench._versus import parser_of, show, write

Turns = dict[str, list[Cost]]
GOALS = {"bare": "at most 5 ×", "plain": "at least 4 ×", "datasets": "at least 4 ×"}
TOKENIZED = 20_000  # rows


def main(argv: list[str]) -> int:
    parser = parser_of("data", rounds=2)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--of", metavar="FILE", help="repeat its rows with variations, instead of made-up ones")
    options = parser.parse_args(argv)
    rows, rounds, tables = options.rows, options.rounds, []
    small = min(rows, 10_000)
    with project_with([], rows, repeat=options.of) as project:
        size = sum(path.stat().st_size for path in (project / "data/raw").iterdir())
        runs = _three_steps(project)
        turns, code = _in_turns(rounds, {name: runs[name] for name in options.only or runs})
        what = f"process + style + render, {rows:,} rows ({size / 1e6:.0f} MB)"
        tables += _report(what, turns, GOALS)
    few, none = (_cost_of(rounds, count, options.of) for count in (small, 100))
    tables.append(_scale(rows, turns["sftplay"], small, few, none))
    more = 0
    if not options.only:
        with project_with([], min(rows, TOKENIZED), repeat=options.of) as project:
            ours(project)
            tokens, more = _in_turns(rounds, _tokenizing(project))
            tables += _report(f"tokenize, {min(rows, TOKENIZED):,} rows", tokens, {"datasets": "at least 1.5 ×"})
    if options.write and not max(code, more):
        write("data" if not options.only else f"data, {rows:,} rows", tables)
    return max(code, more)


def ours(project: Path) -> Cost:
    """The three stages as three commands; their peak is the largest one's."""
    costs = [
        measure(stage(name, *more), project)
        for name, more in (("process", ()), ("style", ("--style", STYLE)), ("render", ()))
    ]
    said = "".join(cost.said for cost in costs if cost.code)
    return Cost(
        sum(cost.seconds for cost in costs),
        max(cost.peak_mb for cost in costs),
        max(cost.code for cost in costs),
        said,
        sum(cost.cpu for cost in costs),
        max(cost.tree_mb for cost in costs),
    )


def _three_steps(project: Path) -> dict[str, Callable[[], Cost]]:
    raw = str(next((project / "data/raw").iterdir()))
    return {
        "sftplay": lambda: ours(project),
        "bare": lambda: _baseline(project, "bare", raw),
        "plain": lambda: _baseline(project, "plain", raw, model=True),
        "datasets": lambda: _baseline(project, "datasets", raw, model=True),
    }


def _tokenizing(project: Path) -> dict[str, Callable[[], Cost]]:
    return {
        "sftplay": lambda: measure(stage("tokenize", "--set", "data.workers=2"), project),
        "datasets": lambda: _baseline(project, "tokenized", str(project / "data/rendered"), model=True),
    }


def _baseline(project: Path, name: str, source: str, *, model: bool = False) -> Cost:
    out = project / "baseline"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    more = [_model_folder()] if model else []
    return measure([sys.executable, "-m", "bench._baselines", name, source, str(out), *more], project)


def _model_folder() -> str:
    from sftplay.places import find_model
    from sftplay.settings import Settings

    return str(find_model(Settings()).absolute())


def _in_turns(rounds: int, contestants: dict[str, Callable[[], Cost]]) -> tuple[Turns, int]:
    turns: Turns = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            cost = run()
            turns[name].append(cost)
            if cost.code:
                print(f"{name} failed:\n{cost.said}")
                return turns, cost.code
    return turns, 0


def _report(title: str, turns: Turns, goals: dict[str, str]) -> list[str]:
    costs = [
        (
            name,
            *(f"{_middle(each, what):.1f} s" for what in ("seconds", "cpu")),
            f"{max(one.tree_mb for one in each):.0f} MB",
        )
        for name, each in turns.items()
    ]
    lines = []
    for name, goal in goals.items():
        if name not in turns:
            continue
        for what, attribute in (("wall", "seconds"), ("CPU", "cpu")):
            pairs = zip(turns["sftplay"], turns[name], strict=False)
            ratios = [getattr(a, attribute) / getattr(b, attribute) for a, b in pairs]
            if name != "bare":
                ratios = [1 / ratio for ratio in ratios]
            label = (
                "sftplay takes, in times of the bare pass" if name == "bare" else f"sftplay is faster than {name} by"
            )
            spread = f"{statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append((f"{label} ({what})", spread, goal if what == "wall" else ""))
    return [
        show(title, ("who", "wall", "CPU", "peak memory, all its processes"), costs),
        show(f"{title}: ratios, each within a turn", ("what", "median (smallest to largest)", "goal"), lines),
    ]


def _middle(costs: list[Cost], attribute: str) -> float:
    return statistics.median(getattr(cost, attribute) for cost in costs)


def _cost_of(rounds: int, rows: int, of: str | None) -> list[Cost]:
    with project_with([], rows, repeat=of) as project:
        return [ours(project) for _ in range(rounds)]


def _scale(rows: int, many: list[Cost], small: int, few: list[Cost], none: list[Cost]) -> str:
    """Cost of a row, Python's start (what a hundred rows cost) taken off."""
    start = _middle(none, "cpu")
    each = [(_middle(costs, "cpu") - start) / count * 1e6 for costs, count in ((few, small), (many, rows))]
    lines = [
        (f"of {small:,} rows", f"{each[0]:.1f} µs", ""),
        (f"of {rows:,} rows", f"{each[1]:.1f} µs", f"{each[1] / each[0] - 1:+.0%}; goal: at most +20 %"),
        ("start of the three commands", f"{start:.1f} s", f"{_middle(none, 'seconds'):.1f} s of wall time"),
    ]
    return show("CPU for each row of process + style + render, without the start", ("what", "CPU", ""), lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
