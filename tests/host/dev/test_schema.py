import json
from pathlib import Path

import pytest

from sftplay.config import load_config, walk_settings
from sftplay.errors import ConfigError
from sftplay.host.dev import schema
from sftplay.settings import Settings
from sftplay.yamlfile import parse_yaml


def test_the_schema_lists_every_key_and_forbids_others(capsys: pytest.CaptureFixture[str]) -> None:
    schema.write()
    value = json.loads(capsys.readouterr().out)
    assert value["additionalProperties"] is False
    assert set(value["properties"]) == set(Settings.model_fields)
    assert {key.path for key in schema.every_key()} == {path for path, *_ in walk_settings()}


def test_it_goes_into_a_file_when_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema.write(str(tmp_path / "schema.json"))
    assert json.loads((tmp_path / "schema.json").read_text())["title"] == "Settings"
    assert capsys.readouterr().out == ""


def test_what_show_prints_is_a_config_with_the_defaults() -> None:
    assert Settings.model_validate(parse_yaml(schema.as_yaml({}), "shown")[0]) == Settings()


def test_every_key_is_shown_with_help() -> None:
    assert [key.path for key in schema.every_key() if not key.help] == []
    shown = schema.as_yaml({})
    assert "# Peak learning rate. (number, above 0)\n  learning_rate: 0.0002" in shown
    takes = {key.path: key.takes for key in schema.every_key()}
    assert takes["train.trackers"] == "a list of `tensorboard`, `trackio`"
    assert takes["infer.stop"] == "a list"


def test_show_with_a_config_prints_its_values_and_can_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("train: {epochs: 3}\ndata: {fields: {user: frage}, raw: [a.csv, b.csv]}\n")
    schema.show(str(config), ["lora.r=8"])
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    assert load_config(again) == load_config(config, ["lora.r=8"])


def test_a_broken_config_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("train: {epochz: 3}\n")
    with pytest.raises(ConfigError, match="did you mean `epochs`"):
        schema.show(str(config))


def test_values_without_a_config_replace_defaults_and_are_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    schema.show(None, ["lora.r=8"])
    assert parse_yaml(capsys.readouterr().out, "shown")[0]["lora"]["r"] == 8
    with pytest.raises(ConfigError):
        schema.show(None, ["lora.r=-1"])
    with pytest.raises(ConfigError):
        schema.show(None, ["lora.rr=8"])
