"""The workflows are valid, pinned, and do nothing that a person could not do: each step is a task
that exists, with its options.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.exceptions import ParseError
from invoke.parser import Parser

import tasks
from sftplay.host.cli.words import spell_out

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".ci" / "run", *WORKFLOWS]
PINNED = re.compile(r"^\s*- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def named(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=path.name) for path in paths]


def schema_says(path: Path, schema: str = "github-workflows") -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{schema}",
        str(path),
    ]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def jobs(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load(path.read_text())["jobs"].values()


@pytest.mark.parametrize("path", named(WORKFLOWS))
def test_the_public_schema_accepts_it(path: Path) -> None:
    done = schema_says(path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        (".github/dependabot.yml", "dependabot"),
        (".github/ISSUE_TEMPLATE/bug.yml", "github-issue-forms"),
        (".github/ISSUE_TEMPLATE/feature.yml", "github-issue-forms"),
        (".github/ISSUE_TEMPLATE/config.yml", "github-issue-config"),
    ],
)
def test_the_public_schemas_accept_the_other_files(name: str, schema: str) -> None:
    done = schema_says(ROOT / name, schema)
    assert done.returncode == 0, done.stdout


def test_the_host_part_is_tested_on_every_python_that_it_supports() -> None:
    metadata = (ROOT / "pyproject.toml").read_text()
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', metadata)
    assert oldest
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["host"][
        "strategy"
    ]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(oldest[1]), 14)]


def test_the_hooks_are_tasks_and_pre_commit_accepts_their_file() -> None:
    pytest.importorskip("pre_commit", reason="pre-commit is in the dev environment")
    path = ROOT / ".pre-commit-config.yaml"
    words = [sys.executable, "-m", "pre_commit", "validate-config", str(path)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    hooks = [hook for repo in yaml.safe_load(path.read_text())["repos"] for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}  # nothing is downloaded
    for hook in hooks:
        parses(hook["entry"].removeprefix("python3 tasks.py "))


def test_the_public_schema_refuses_a_misspelt_key(tmp_path: Path) -> None:
    (tmp_path / "ci.yml").write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    assert schema_says(tmp_path / "ci.yml").returncode == 1


@pytest.mark.parametrize("path", named(WORKFLOWS))
def test_every_action_is_named_by_its_commit(path: Path) -> None:
    uses = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert uses
    assert [line for line in uses if not PINNED.match(line)] == []


@pytest.mark.parametrize("path", named(WORKFLOWS))
def test_every_step_is_a_task(path: Path) -> None:
    for job in jobs(path):
        for step in job["steps"]:
            assert "uses" in step or step["run"].startswith("python3 tasks.py "), step


def commands(path: Path) -> list[str]:
    """The tasks that a workflow or script starts, as a person would type them."""
    text = re.sub(r"\$\{\{ matrix\.stack \}\}", "cpu", path.read_text())
    text = re.sub(r"\$\{\{ .*? \}\}", "x", text)
    found = re.findall(
        r"python3 tasks\.py ([^\n|&;]*)", re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
    )
    return [
        re.sub(r'"\$\{containers\[@\]\}"', "--docker", line).replace('"$stack"', "bnb")
        for line in found
    ]


@pytest.mark.parametrize("path", named(SCRIPTS))
def test_every_task_that_is_started_exists_and_takes_these_options(path: Path) -> None:
    assert commands(path)
    for line in commands(path):
        parses(line)


def parses(line: str) -> None:
    """As the menu reads it: names, options, and words that follow a task."""
    words = shlex.split(line)
    contexts = tasks.namespace.to_contexts()
    assert any(words[0] in (context.name, *context.aliases) for context in contexts), (
        f"there is no task {words[0]}"
    )
    Parser(contexts=contexts).parse_argv(spell_out(words, tasks.namespace))


def test_a_task_or_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError, match="there is no task"):
        parses("image.make cpu")
    with pytest.raises(ParseError):
        parses("lint --mend")


@pytest.mark.parametrize("path", named(WORKFLOWS))
def test_rights_and_time_are_limited(path: Path) -> None:
    whole = yaml.safe_load(path.read_text())
    assert whole["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in whole[True]  # YAML 1.1 reads the key `on` as true
    for job in jobs(path):
        assert job["timeout-minutes"] <= 120
        if "self-hosted" in job["runs-on"]:
            assert not {"pull_request", "push"} & set(whole[True])
