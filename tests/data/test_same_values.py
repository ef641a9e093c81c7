"""One tokenization for all stacks: every stack whose environment is there makes the same values of
the same rows.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.data.models import CHATML, CHATML_NAMED, save_model
from tests.data.project import Project, jsonl, questions

NEEDED = "import jinja2, numpy, orjson, pyarrow, pydantic, tokenizers, yaml"


def environments() -> dict[str, Path]:
    """stack → python of its newest environment that has what the data stages need."""
    found: dict[str, Path] = {}
    root = Path(os.environ.get("SFTPLAY_ENVS", ".envs")).absolute()
    for folder in sorted(root.glob("*-*"), key=lambda path: path.stat().st_mtime):
        python = folder / "bin/python"
        if (
            python.is_file()
            and subprocess.run([python, "-c", NEEDED], capture_output=True, check=False).returncode
            == 0
        ):
            found[folder.name.rpartition("-")[0]] = python
    return found


def values(project: Project, python: Path) -> dict[str, str]:
    for stage in ("render", "tokenize"):
        argv = [str(python), *project.argv(stage)[1:]]
        subprocess.run(
            argv, cwd=project.folder, env=project.environment(), check=True, capture_output=True
        )
    stamp = json.loads((project.folder / "data/tokenized/stamp.json").read_bytes())
    found: dict[str, str] = stamp["facts"]["values_hash"]
    return found


@pytest.mark.parametrize("stack", ["cpu", "bnb", "unsloth"])
def test_every_stack_makes_the_same_values(project: Project, stack: str) -> None:
    python = environments().get(stack)
    if python is None:
        pytest.skip(
            f"no environment of the {stack} stack with today's packages: inv install makes it"
        )
    rows = [*questions(60), {"question": "Où ça?", "answer": "Là-bas — 東京 🙂"}]
    project.put("qa.jsonl", jsonl(rows))
    save_model(project.folder / "model", CHATML, CHATML_NAMED, ())
    (project.folder / "config.yaml").write_text("model: {name: ./model}\n")
    assert project.run("process").code == 0
    here = values(project, Path(project.argv("process")[0]))
    assert values(project, python) == here
