"""The stage `accept` on a CPU: every step for real, with small amounts; limits, and what it is
compared with.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sftplay import acceptance
from sftplay.model import accept
from sftplay.model.acceptance import children, inputs
from sftplay.model.acceptance.context import Context, NotAsExpected, Unusable
from sftplay.model.acceptance.steps import STEPS, StepPlan

ROOT = Path(__file__).resolve().parents[3]
APART = ("reference", "trl_script", "unsloth_script", "plain_answers")


@pytest.mark.parametrize("name", APART)
def test_what_sftplay_is_compared_with_shares_no_code(name: str) -> None:
    tree = ast.parse((ROOT / f"sftplay/model/acceptance/{name}.py").read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [one for one in imported if one.startswith("sftplay")]


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The result of a whole run on the CPU, and what it printed."""
    folder = tmp_path_factory.mktemp("accept")
    (folder / "c.yaml").write_text("{}")
    words = ["accept", "--config", "c.yaml", "--minutes=10", "--set", "train.device=cpu"]
    ran = subprocess.run(
        [sys.executable, "-m", "sftplay", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SFTPLAY_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads((folder / acceptance.RESULT).read_text()), ran.stderr


@pytest.mark.acceptance
def test_every_step_passes_on_a_cpu_or_says_why_not(
    accepted: tuple[dict[str, Any], str],
) -> None:
    result, said = accepted
    found = {step["name"]: step for step in result["steps"]}
    assert list(found) == [step.name for step in STEPS]
    failed = [row for step in found.values() for row in step["rows"] if row["state"] == "failed"]
    assert not failed and all(step["state"] != "failed" for step in found.values()), said
    skipped = [row for step in found.values() for row in step["rows"] if row["state"] == "skipped"]
    assert all(row["reason"] for row in skipped)
    for name in ("machine", "numerics", "bnb", "memory", "lengths", "speed", "answers"):
        assert found[name]["state"] == "passed", name


@pytest.mark.acceptance
def test_its_rows_hold_what_the_issue_of_a_gpu_needs(
    accepted: tuple[dict[str, Any], str],
) -> None:
    result, _ = accepted
    rows = {
        (step["name"], row["name"]): row["values"]
        for step in result["steps"]
        for row in step["rows"]
    }
    matrix = [name for step, name in rows if step == "numerics"]
    assert len(matrix) == 1 + 3 * 2 * 4  # methods, precisions of a CPU, checkpointing and packing
    assert rows["bnb", "stopped half-way and resumed"] == {
        "loss_apart": 0.0,
        "adapter": "the same bytes",
    }
    assert rows["speed", "TRL, its defaults"]["tokens_per_second"] > 0
    assert rows["answers", "transformers, continuous batching"]["tokens_per_second"] > 0
    assert rows["memory", acceptance.FORECAST]["peak_mb"] > 0
    assert {"torch", "python", "sftplay"} <= set(result["versions"])


def test_a_wrong_gradient_fails_its_row(tmp_path: Path) -> None:
    """The matrix finds what it is for: a loss of half the size."""
    from sftplay.model.acceptance import matrix

    found = {"losses": [2.0], "norms": [1.0], "first": {"w": __import__("torch").ones(3)}}
    right = {**found, "first": {"w": 1.2 * found["first"]["w"]}}
    matrix._compare(found, found, "fp32", {})
    with pytest.raises(NotAsExpected, match=r"gradient 0\.17 apart"):
        matrix._compare(found, right, "fp32", {})
    with pytest.raises(NotAsExpected, match=r"loss 0\.5 apart"):
        matrix._compare({**found, "losses": [1.0]}, found, "bf16", {})


def test_rows_are_on_disk_as_they_are_found(tmp_path: Path) -> None:
    context = Context("cpu", tmp_path / "out.json")
    with context.row("good") as values:
        values["figure"] = 1
    with context.row("absent"):
        raise Unusable("not installed")
    noted = accept._noted(tmp_path / "out.json")
    with context.row("wrong"):
        raise NotAsExpected("too slow")
    with context.row("broken"):
        raise KeyError("x")
    states = [(row.name, row.state, row.reason) for row in accept._noted(tmp_path / "out.json")]
    assert [row.name for row in noted] == ["good", "absent"]
    assert states[1:] == [
        ("absent", "skipped", "not installed"),
        ("wrong", "failed", "too slow"),
        ("broken", "failed", "KeyError: 'x'"),
    ]


@pytest.mark.parametrize("forked", [True, False])
def test_a_step_past_its_limit_is_ended_with_its_children_and_keeps_its_rows(
    forked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        "import json, subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        f"open({str(tmp_path / 'step-slow.json')!r}, 'w').write("
        "json.dumps({'rows': [{'name': 'first', 'state': 'passed', 'reason': '', 'values': {}}]}))\n"
        "time.sleep(600)\n"
    )
    real = children.start

    def start(words: Any, log: Path, *, forked: bool, leader: bool) -> int:
        return real((str(script),), log, forked=forked, leader=leader)

    monkeypatch.setattr(children, "start", start)
    step = StepPlan("slow", "never ends", "nowhere", 0.5)
    device = "cpu" if forked else "cuda"
    found = accept._run(step, device, tmp_path, 12.0, time.monotonic() + 60)
    assert found.state == "skipped" and "not finished after 6 s" in found.reason
    assert [row.name for row in found.rows] == ["first"]
    time.sleep(0.2)
    assert not Path(f"/proc/{(tmp_path / 'child').read_text()}/cmdline").exists() or (
        Path(f"/proc/{(tmp_path / 'child').read_text()}/stat").read_text().split()[2] == "Z"
    )


def test_a_fresh_process_finds_sftplay_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where nothing is forked: no PYTHONPATH, another working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    out, log = tmp_path / "out.json", tmp_path / "log"
    words = ("-m", "sftplay.model.acceptance.process", "machine", "cpu", str(out))
    assert children.wait(children.start(words, log, forked=False, leader=True)) == 0, (
        log.read_text()
    )
    assert len(accept._noted(out)) == 12
    stage = children.start(("-m", "sftplay", "--help"), log, forked=False, leader=False)
    assert children.wait(stage) == 0


def test_what_no_time_is_left_for_is_skipped(tmp_path: Path) -> None:
    found = accept._run(STEPS[0], "cpu", tmp_path, 600.0, time.monotonic() + 1)
    assert (found.state, found.reason) == ("skipped", "the time was over")


def test_a_step_that_crashes_fails_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Traceback\nSegmentation fault\n")
    state, reason = accept._judge(139, (), 10, tmp_path / "log")
    assert (state, reason) == ("failed", "ended with 139: Segmentation fault")


def test_the_made_rows_are_the_same_every_time_and_of_the_length_asked_for() -> None:
    first, again = list(inputs.rows(20, 40)), list(inputs.rows(20, 40))
    assert first == again
    lengths = [len(row["assistant"].split()) for row in first]
    assert min(lengths) >= 20 and max(lengths) <= 60
