"""The default model, as the package's file is written into the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, GenerationConfig

from sftplay.fingerprint import fingerprint
from sftplay.model.smollm2 import write_safetensors

# Runs know their base by this. Where it changes, with another version of transformers say, adapters
# of earlier runs are refused on every machine that fetches the model anew.
IDENTITY = "sha256:0056b559cfb02ac0c83788f0cf8d11e252083398ca4d752f353b165f70ee787e"


@pytest.mark.long  # dequantizes 135 million numbers: half a minute
def test_every_version_writes_the_same_model(tmp_path: Path) -> None:
    folder, version = write_safetensors(tmp_path)
    assert folder.name.endswith(version) and fingerprint(folder) == IDENTITY
    for name in ("config.json", "generation_config.json"):
        assert "transformers_version" not in json.loads((folder / name).read_text())
    assert AutoConfig.from_pretrained(folder).num_hidden_layers == 30
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 2
