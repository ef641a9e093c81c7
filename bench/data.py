"""Raw rows to tokenized rows, against the same work by datasets.map, in turns on one machine: `inv
bench data [--write] [--args='…']`.

`--rows N` (20,000), `--rounds N` (2), `--of FILE`: rows of a file, GSM8K's say, as often as needed
and all different (made up otherwise; of those there are 142,400 different ones at most), `--only
sftplay`: one contestant. Every figure is of whole processes, Python's start included. On a shared
machine look at the ratios: the contestants take turns, and a ratio is formed within each turn. CPU
is user and system time, of children too.
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
GOALS = {"wall": "at least 2 ×", "CPU": "at least 2.5 ×"}
STAGES = (("process", ()), ("style", ("--style", STYLE)), ("render", ()), ("tokenize", ()))


def main(argv: list[str]) -> int:
    parser = parser_of("data", rounds=2)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument(
        "--of", metavar="FILE", help="repeat its rows with variations, instead of made-up ones"
    )
    options = parser.parse_args(argv)
    with project_with([], options.rows, repeat=options.of) as project:
        raw = next((project / "data/raw").iterdir())
        what = f"raw to tokenized, {options.rows:,} rows ({raw.stat().st_size / 1e6:.0f} MB)"
        by_stage: dict[str, list[Cost]] = {name: [] for name, _ in STAGES}
        contestants = {
            "sftplay": lambda: ours(project, by_stage),
            "datasets": lambda: datasets_map(project, str(raw)),
        }
        chosen = {name: contestants[name] for name in options.only or contestants}
        # Untimed: it compiles the bytecode of all that is imported, as a user's first command does.
        _, code = _in_turns(1, chosen)
        by_stage.update({name: [] for name, _ in STAGES})
        turns, code = _in_turns(options.rounds, chosen) if not code else ({}, code)
    tables = [
        _costs(what, turns),
        _ratios(what, turns),
        _costs("sftplay, stage by stage", by_stage),
    ]
    if options.write and not code:
        write("data", tables)
    return code


def ours(project: Path, by_stage: dict[str, list[Cost]]) -> Cost:
    """Run the four stages as four commands; their peak is the largest one's."""
    costs = [measure(stage(name, *more), project) for name, more in STAGES]
    for (name, _), cost in zip(STAGES, costs, strict=True):
        by_stage[name].append(cost)
    return Cost(
        sum(cost.seconds for cost in costs),
        max(cost.peak_mb for cost in costs),
        max(cost.code for cost in costs),
        "".join(cost.said for cost in costs if cost.code),
        sum(cost.cpu for cost in costs),
        max(cost.tree_mb for cost in costs),
    )


def datasets_map(project: Path, raw: str) -> Cost:
    """Run the same steps by datasets.map, two workers, in one command."""
    out = project / "baseline"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return measure(
        [sys.executable, "-m", "bench._baselines", raw, str(out), _model_folder()], project
    )


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


def _costs(title: str, turns: Turns) -> str:
    rows = [
        (
            name,
            *(
                f"{statistics.median(getattr(cost, what) for cost in costs):.1f} s"
                for what in ("seconds", "cpu")
            ),
            f"{max(cost.tree_mb for cost in costs):.0f} MB",
        )
        for name, costs in turns.items()
        if costs
    ]
    return show(title, ("who", "wall", "CPU", "peak memory, all its processes"), rows)


def _ratios(title: str, turns: Turns) -> str:
    lines = []
    for what, attribute in (("wall", "seconds"), ("CPU", "cpu")):
        pairs = zip(turns.get("sftplay", ()), turns.get("datasets", ()), strict=False)
        ratios = [getattr(theirs, attribute) / getattr(own, attribute) for own, theirs in pairs]
        if ratios:
            spread = f"{statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append((f"sftplay is faster than datasets.map by ({what})", spread, GOALS[what]))
    return show(
        f"{title}: ratios, each within a turn",
        ("what", "median (smallest to largest)", "goal"),
        lines,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
