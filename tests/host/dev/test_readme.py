"""What README says, compared with the code that it speaks about."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.config import walk_settings
from sftplay.errors import EXIT_MEANINGS
from sftplay.host.dev import readme

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_made_parts_are_up_to_date() -> None:
    assert readme.fill(TEXT) == TEXT, "run: python -m sftplay.host.dev.readme"


def test_the_task_table_lists_what_the_menu_has() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    names = set(re.findall(r"^  ([a-z][a-z.-]*)(?: \(.*?\))?(?:  |$)", listed, flags=re.MULTILINE))
    assert readme.task_names(TEXT) == names


def test_the_reference_has_every_key_and_the_codes_every_code() -> None:
    reference, codes = readme.config_reference(), readme.exit_codes()
    assert all(f"| `{path}` |" in reference for path, *_ in walk_settings())
    assert all(f"| {code} | {meaning} |" in codes for code, meaning in EXIT_MEANINGS.items())


def test_every_module_is_in_the_tree_with_a_sentence() -> None:
    tree = readme.file_tree()
    for path in (ROOT / "sftplay").rglob("*.py"):
        if path.name != "__init__.py":
            line = next((line for line in tree.splitlines() if re.match(rf"\s+(\S*/)?{path.name}\s", line)), None)
            assert line is not None and len(line.split(maxsplit=1)[1]) > 5, path


@pytest.mark.parametrize("config", sorted(set(re.findall(r"configs/\w+\.yaml", TEXT))))
def test_the_configs_it_names_are_there(config: str) -> None:
    assert (ROOT / config).is_file()


def test_tables_keep_their_shape_whatever_the_help_says() -> None:
    for line in readme.config_reference().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4, line


def test_missing_markers_are_named() -> None:
    with pytest.raises(KeyError, match="config"):
        readme.fill("# a README without parts\n")
