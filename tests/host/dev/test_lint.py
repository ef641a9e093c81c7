"""`inv lint`: its tools are in the dev environment, and each of the new ones finds what it is for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.errors import UsageError
from sftplay.host.dev import lint
from tests.host.conftest import CHECKOUT

TOOLS = Path(sys.executable).parent
in_dev = pytest.mark.skipif(
    not (TOOLS / "codespell").exists(), reason="the tools are in the dev environment"
)


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = lint.CHECKS[name].command(fix=False)
    return subprocess.run(
        [str(TOOLS / program), *words], cwd=folder, capture_output=True, text=True, check=False
    )


@in_dev
def test_every_tool_is_in_the_dev_environment() -> None:
    assert [
        name for name, check in lint.CHECKS.items() if not (TOOLS / check.argv[0]).exists()
    ] == []


def test_a_check_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="unknown check: nonsense") as caught:
        lint.run(["nonsense"])
    assert "spelling" in caught.value.todo


def test_only_fix_writes() -> None:
    assert "--check" in lint.CHECKS["format"].command(fix=False)
    assert "--check" not in lint.CHECKS["format"].command(fix=True)
    assert "--fix" not in lint.CHECKS["style"].command(fix=False)


@in_dev
def test_a_misspelt_word_is_found(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    assert run("spelling", tmp_path).returncode == 0
    (tmp_path / "page.md").write_text(f"t{'eh'} end\n")
    done = run("spelling", tmp_path)
    assert done.returncode != 0
    assert "page.md:1" in done.stdout


@in_dev
@pytest.mark.parametrize("target", ["gone.md", "there.md#no-such-heading"])
def test_a_link_to_nowhere_is_found(tmp_path: Path, target: str) -> None:
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "there.md").write_text("# There\n")
    (tmp_path / "page.md").write_text("[fine](there.md#there)\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert run("links", tmp_path).returncode == 0
    (tmp_path / "page.md").write_text(f"[broken]({target})\n")
    assert run("links", tmp_path).returncode == 1
