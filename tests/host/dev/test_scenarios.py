"""The workflows in docs/tasks.md: the commands exist, the page shows just these, and (long) they
run, word for word.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.parser import Parser

from sftplay.host.cli.words import spell_out
from sftplay.host.dev.scenarios import SCENARIOS, Scenario, as_markdown
from tests.host.conftest import CHECKOUT, RunTask

TINY = """
model: {{name: {model}, max_length: 256}}
data: {{val_share: 0.2, test_share: 0}}
train: {{method: lora, max_steps: 2, batch_size: 2, logging_steps: 1}}
eval: {{samples: 3, max_new_tokens: 4}}
infer: {{max_new_tokens: 4}}
"""
MANY = """
datasets:
  plain: {raw: data/raw}
  brief: {raw: data/raw, style: Answer in one short sentence.}
experiments:
  - {name: both, dataset: [plain, brief]}
"""
by_name = pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=[one.name.replace(" ", "-").lower() for one in SCENARIOS]
)


def test_the_page_shows_them() -> None:
    assert as_markdown() in (CHECKOUT / "docs/tasks.md").read_text(encoding="utf-8")
    named = {
        "complete beginner",
        "step by step",
        "custom config",
        "several datasets",
        "clean restart",
        "backend-specific",
    }
    assert {one.name.lower() for one in SCENARIOS} == named


@by_name
def test_every_command_is_one_that_the_menu_understands(scenario: Scenario) -> None:
    sys.path.insert(0, str(CHECKOUT))
    import tasks

    parser = Parser(contexts=tasks.namespace.to_contexts())
    for program, *words in scenario.argv:
        assert program in ("inv", "cp")
        if program == "inv":
            assert len(parser.parse_argv(spell_out(words, tasks.namespace))) == 1, words


@pytest.fixture
def project(checkout: Path, tiny_model: Path, environment: None) -> Path:
    """A checkout with rows in it, whose configs are for a model of a few thousand weights."""
    (checkout / "data/raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("run_bnb", "run_unsloth", "quickstart"):
        backend = "unsloth" if name == "run_unsloth" else "bnb"
        (checkout / f"configs/{name}.yaml").write_text(
            f"backend: {backend}\n" + TINY.format(model=tiny_model)
        )
    return checkout


@pytest.mark.long  # up to ten stages each, with their imports: a minute or more on a slow machine
@by_name
def test_it_runs_as_the_page_shows_it(scenario: Scenario, project: Path, run_task: RunTask) -> None:
    for program, *words in scenario.argv:
        if program == "cp":
            subprocess.run([program, *words], cwd=project, check=True)
            continue
        done = run_task(*words, timeout=1500)
        if "many.yaml is a template now" in done.stderr:
            (project / "many.yaml").write_text(MANY)  # what a person would edit it to
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    made = {
        path.parent.parent.name for path in (project / "outputs").glob("*/adapter/manifest.json")
    }
    assert (
        made
        == {
            "Complete beginner": {"quickstart"},
            "Step by step": {"run_bnb"},
            "Custom config": {"mine"},
            "Several datasets": {"both-plain", "both-brief"},
            "Clean restart": {"run_bnb"},
            "Backend-specific": {"with-bnb", "with-unsloth"},
        }[scenario.name]
    )
