"""Every file in configs/ loads, and begins with the command that runs it."""

import re
from pathlib import Path

import pytest

from sftplay.config import dump_config, load_config
from sftplay.stages import STAGES

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(
    path for path in CONFIGS.glob("*.yaml") if path.stem != "batch"
)  # a batch file is no config
_COMMAND = re.compile(r"# python3 tasks\.py (?P<task>[a-z-]+)(?: --config (?P<config>\S+))?")


def test_the_configs_that_the_tasks_name_are_there() -> None:
    assert {"quickstart", "run_bnb", "run_unsloth", "lora", "full"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_loads_and_its_resolved_form_loads_too(path: Path, tmp_path: Path) -> None:
    settings = load_config(path)
    assert settings.run.name == path.stem
    again = tmp_path / path.name
    again.write_text(dump_config(settings))
    assert load_config(again) == settings


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_first_line_is_the_command_that_runs_it(path: Path) -> None:
    match = _COMMAND.fullmatch(path.read_text().splitlines()[0])
    assert match is not None
    if match["task"] == "quickstart":
        assert path.stem == "quickstart" and match["config"] is None  # it is that task's default
    else:
        assert match["task"] in {stage.name for stage in STAGES}
        assert match["config"] == f"configs/{path.name}"
