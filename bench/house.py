"""Figures of the code itself: sizes, import cycles, tests by name, hops of `inv train`. `inv bench
house`.

The limits are those that the project has set itself. A figure that misses its limit is printed as
such; the exit code stays 0, because this measures and does not judge (lint does).
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

from bench._hops import train_hops
from bench._measure import ROOT

PACKAGE = ROOT / "sftplay"
LAYERS = ("", "page", "host", "data", "model")
NO_TEST = ("__init__", "__main__")  # hold no code that a test of their name could be about
# Modules that are tested best through another one: a part of a stage, of a backend, or of the menu.
TESTED_BY = {
    "attempts.py": "tests/test_runs.py",
    "cli.py": "tests/test_call.py",
    "data/blocks.py": "tests/data/tokenizing/test_joint.py",
    "data/formats/known_formats.py": "tests/data/formats/test_detect.py",
    "data/formats/measure.py": "tests/data/test_process.py",
    "data/formats/row_format.py": "tests/data/formats/test_fields.py",
    "data/formats/row_notes.py": "tests/data/formats/test_unused_keys.py",
    "data/guessed_settings.py": "tests/data/test_preview.py",
    "data/readers/piece.py": "tests/data/readers/test_lines.py",
    "data/readers/pieces.py": "tests/data/readers/test_archives.py",
    "data/rendering/block.py": "tests/data/rendering/test_mask_proof.py",
    "data/rendering/tracing.py": "tests/data/rendering/test_plans.py",
    "data/report_sections.py": "tests/data/test_report_page.py",
    "data/row_view.py": "tests/data/test_show.py",
    "decision.py": "tests/host/select/test_choose.py",
    "host/cli/guide.py": "tests/host/cli/test_menu.py",
    "host/cli/tasks/developers.py": "tests/host/cli/test_menu.py",
    "host/cli/tasks/images.py": "tests/host/cli/test_menu.py",
    "host/cli/tasks/stages.py": "tests/host/cli/test_menu.py",
    "host/containers/collect.py": "tests/host/containers/test_training.py",
    "host/containers/lifecycle.py": "tests/host/containers/test_training.py",
    "host/containers/ownership.py": "tests/host/containers/test_runner.py",
    "host/containers/stop.py": "tests/host/containers/test_training.py",
    "host/doctor/engine_facts.py": "tests/host/doctor/test_engine_rules.py",
    "host/doctor/facts.py": "tests/host/doctor/test_machine_rules.py",
    "host/doctor/stack_choices.py": "tests/host/doctor/test_gather.py",
    "host/images/trial.py": "tests/host/images/test_real_build.py",
    "host/images/verification.py": "tests/host/images/test_real_build.py",
    "host/launch/execute.py": "tests/host/cli/test_stage_task.py",
    "host/launch/observe.py": "tests/host/launch/test_training.py",
    "host/launch/stage.py": "tests/host/cli/test_stage_task.py",
    "host/quickstart/session.py": "tests/host/quickstart/test_command.py",
    "host/quickstart/steps.py": "tests/host/quickstart/test_command.py",
    "host/report/data.py": "tests/host/report/test_command.py",
    "host/runs/comparable.py": "tests/host/runs/test_compare.py",
    "host/runs/measured.py": "tests/host/runs/test_view.py",
    "host/system/checkout.py": "tests/host/cli/test_project.py",
    "host/system/requirements.py": "tests/images/test_stacks.py",
    "model/answers/decoding.py": "tests/model/answers/test_generate.py",
    "model/backends/bnb.py": "tests/model/test_matrix.py",
    "model/backends/unsloth.py": "tests/gpu/test_backends.py",
    "model/backends/unsloth_environ.py": "tests/model/test_unsloth_stack.py",
    "model/evaluation/measurement.py": "tests/model/test_evaluate.py",
    "model/lean/rotary.py": "tests/model/lean/test_lean.py",
    "model/libraries.py": "tests/host/images/test_real_build.py",
    "model/merging/card.py": "tests/model/test_merge.py",
    "model/numerics/plain.py": "tests/model/numerics/test_proof.py",
    "model/numerics/slope.py": "tests/model/numerics/test_proof.py",
    "model/training/telemetry.py": "tests/model/test_train.py",
    "model/training/trainer_config.py": "tests/model/test_train.py",
    "model/unsloth/probe_process.py": "tests/model/unsloth/test_probe.py",
    "model/weights/causal.py": "tests/model/weights/test_broken_models.py",
    "model/weights/load_errors.py": "tests/model/weights/test_broken_models.py",
    "model/weights/loading_report.py": "tests/model/weights/test_broken_models.py",
    "page/chart_parts.py": "tests/page/test_charts.py",
    "settings.py": "tests/test_config.py",
    "stages.py": "tests/test_call.py",
    "weights.py": "tests/test_base_model.py",
}
ODD_START = re.compile(r"(What|Whether|Who|Which|Where|How|Why|When|Is|Are|Does|Can)\b")
Row = tuple[str, object, str]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="inv bench house", description=__doc__)
    parser.add_argument(
        "--hops", action="store_true", help="start a training of a tiny model and count its frames"
    )
    parser.add_argument(
        "--names",
        action="store_true",
        help="name the modules, functions and classes that stand out",
    )
    options = parser.parse_args(argv)
    print_table("Package", list(_package(names=options.names)))
    print_table("Lines over 100 columns", list(_wide_lines()))
    print_table("Imports", list(_cycles()))
    print_table("Tests and words", list(_tests(names=options.names)))
    if options.hops:
        found = train_hops()
        total = sum(len(frames) for frames in found.values())
        rows: list[Row] = [(process, len(frames), "") for process, frames in found.items()]
        print_table(
            "Own frames from `inv train` to the training loop",
            [*rows, ("all processes", total, "12")],
        )
        for process, frames in found.items() if options.names else ():
            print(f"{process}\n" + "\n".join(f"  {frame}" for frame in frames))
    return 0


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows of (figure, value, limit)."""
    print(f"\n{title}")
    width = max(len(name) for name, _, _ in rows)
    for name, value, limit in rows:
        print(f"  {name:<{width}}  {value}{f'   (goal: {limit})' if limit else ''}")


def modules() -> list[Path]:
    """Return every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def _package(*, names: bool) -> Iterator[Row]:
    sizes = {path: len(read_lines(path)) for path in modules()}
    for layer in LAYERS:
        mine = [size for path, size in sizes.items() if _layer(path) == layer]
        yield f"{layer or 'kernel'}: modules, lines", f"{len(mine)}, {sum(mine):,}", ""
    code = [size for path, size in sizes.items() if path.stem not in NO_TEST]
    yield "all modules, lines", f"{len(sizes)}, {sum(sizes.values()):,}", ""
    yield "median lines of a module (without __init__)", statistics.median(code), "110 at most"
    long = sorted(((size, path) for path, size in sizes.items() if size > 250), reverse=True)
    yield "modules over 250 lines", len(long), "0"
    for size, path in long if names else ():
        yield f"  {path.relative_to(ROOT)}", size, ""
    functions = sorted(_functions())
    lengths = [size for size, _ in functions]
    tenth = statistics.quantiles(lengths, n=10)[-1]
    yield (
        "functions: median, p90, max",
        f"{statistics.median(lengths):.0f}, {tenth:.0f}, {lengths[-1]}",
        "",
    )
    over = [(size, name) for size, name in functions if size > 40]
    yield "functions over 40 lines", f"{len(over)} of {len(functions):,}", ""
    for size, name in over if names else ():
        yield f"  {name}", size, ""


def _layer(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in LAYERS else ""


def _functions() -> Iterator[tuple[int, str]]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (
                    (node.end_lineno or 0) - node.lineno + 1,
                    f"{path.relative_to(ROOT)}:{node.name}",
                )


def _wide_lines() -> Iterator[Row]:
    for folder in ("sftplay", "tests", "bench"):
        lines = [line for path in (ROOT / folder).rglob("*.py") for line in read_lines(path)]
        wide = sum(len(line) > 100 for line in lines)
        yield folder, f"{wide / len(lines):.1%} ({wide:,} of {len(lines):,})", "under 1%"


def _cycles() -> Iterator[Row]:
    graph = grimp.build_graph("sftplay")
    files = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    yield "cycles between files", _cycle(files), "none"
    for parent in ("sftplay", "sftplay.host", "sftplay.data", "sftplay.model"):
        children: dict[str, set[str]] = defaultdict(set)
        for name, imported in files.items():
            for other in imported:
                pair = _child(parent, name), _child(parent, other)
                if all(pair) and pair[0] != pair[1]:
                    children[pair[0]].add(pair[1])
        yield f"cycles between the parts of {parent}", _cycle(children), "none"


def _child(parent: str, name: str) -> str:
    """The part of `parent` that a module belongs to; empty if it is not below it."""
    rest = name.removeprefix(parent + ".")
    return "" if rest == name else rest.split(".")[0]


def _cycle(graph: dict[str, set[str]]) -> str:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " → ".join(error.args[1])
    return "none"


def _tests(*, names: bool) -> Iterator[Row]:
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    anywhere = {path.name for path in tests}
    code = [path.relative_to(PACKAGE) for path in modules() if path.stem not in NO_TEST]
    same = [path for path in code if path.parent / f"test_{path.name}" in tests]
    loose = [path for path in code if f"test_{path.name}" in anywhere]
    yield (
        "modules with a test file of the same path",
        f"{len(same) / len(code):.0%} ({len(same)} of {len(code)})",
        "",
    )
    yield (
        "… of the same name, anywhere in tests/",
        f"{len(loose) / len(code):.0%} ({len(loose)})",
        "",
    )
    named = [path for path in code if f"test_{path.name}" in anywhere or str(path) in TESTED_BY]
    yield (
        "… or a stated test of another name",
        f"{len(named) / len(code):.0%} ({len(named)})",
        "90%",
    )
    for path in sorted(set(code) - set(named)) if names else ():
        yield f"  sftplay/{path}", "no test of its name", ""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules()]
    classes = Counter(
        node.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    twice = sorted(f"{name} ({count})" for name, count in classes.items() if count > 1)
    yield "public class names used more than once", ", ".join(twice) or "none", "none"
    docs = [doc for tree in trees for node in ast.walk(tree) if (doc := _doc(node))]
    odd = sum(bool(ODD_START.match(doc)) for doc in docs)
    yield "docstrings that begin with What, Whether, Who, …", f"{odd} of {len(docs):,}", "0"
    yield "lines of README.md", len(read_lines(ROOT / "README.md")), "150 at most"


def _doc(node: ast.AST) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return (ast.get_docstring(node) or "") if isinstance(node, documented) else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
