"""The data stages against the same work written otherwise, in turns on one machine: `inv bench data [--args='ROWS ROUNDS']`.

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
from bench._measure import Cost, measure, project_with, stage, table

Turns = dict[str, list[Cost]]


def main(argv: list[str]) -> int:
    rows = int(argv[0]) if argv else 200_000
    rounds = int(argv[1]) if len(argv) > 1 else 2
    small = min(rows, 10_000)
    with project_with([], rows) as project:
        turns, code = _in_turns(rounds, _three_steps(project))
        _report(
            f"process + style + render, {rows:,} rows",
            turns,
            {"bare": "at most 5", "plain": "at least 4", "datasets": "at least 4"},
        )
        few = _cost_of(rounds, small), _cost_of(rounds, 100)
        _scale(rows, turns["sftplay"], small, *few)
    with project_with([], min(rows, 20_000)) as project:
        ours(project)
        tokens, more = _in_turns(rounds, _tokenizing(project))
        _report(f"tokenize, {min(rows, 20_000):,} rows", tokens, {"datasets": "at least 1.5"})
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


def _report(title: str, turns: Turns, goals: dict[str, str]) -> None:
    lines = [(name, f"{_middle(costs, 'seconds'):.1f} s", _detail(costs)) for name, costs in turns.items()]
    for name, goal in goals.items():
        for what, attribute in (("wall", "seconds"), ("CPU", "cpu")):
            pairs = zip(turns["sftplay"], turns[name], strict=False)
            ratios = [getattr(a, attribute) / getattr(b, attribute) for a, b in pairs]
            if name != "bare":
                ratios = [1 / ratio for ratio in ratios]
            label = (
                "sftplay takes, in times of the bare pass" if name == "bare" else f"sftplay is faster than {name} by"
            )
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            lines.append((f"{label} ({what})", f"{statistics.median(ratios):.2f}", f"{spread}; goal: {goal}"))
    table(title, lines)


def _middle(costs: list[Cost], attribute: str) -> float:
    return statistics.median(getattr(cost, attribute) for cost in costs)


def _detail(costs: list[Cost]) -> str:
    return f"CPU {_middle(costs, 'cpu'):.1f} s, peak {max(cost.peak_mb for cost in costs):.0f} MB"


def _cost_of(rounds: int, rows: int) -> list[Cost]:
    with project_with([], rows) as project:
        return [ours(project) for _ in range(rounds)]


def _scale(rows: int, many: list[Cost], small: int, few: list[Cost], none: list[Cost]) -> None:
    """Cost of a row, Python's start (what a hundred rows cost) taken off."""
    start = _middle(none, "cpu")
    each = [(_middle(costs, "cpu") - start) / count * 1e6 for costs, count in ((few, small), (many, rows))]
    table(
        "CPU for each row, without the start",
        [
            (f"of {small:,} rows", f"{each[0]:.1f} µs", ""),
            (f"of {rows:,} rows", f"{each[1]:.1f} µs", f"{each[1] / each[0] - 1:+.0%}; goal: at most +20 %"),
            ("start of the three commands", f"{start:.1f} s", ""),
        ],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
