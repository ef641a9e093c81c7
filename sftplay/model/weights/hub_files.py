"""Tokenizer and config files that older readers load too.

transformers 5 names its tokenizer class `TokenizersBackend`, lists extra special tokens and nests
the settings of rotary positions. transformers 4.57 and programs that use it know none of the three.
Both read what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sftplay.files import write_text

# How the tokenizer was loaded here; of no use elsewhere.
_RUNTIME = ("backend", "is_local", "local_files_only")


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer so that transformers 4.57 loads it too."""
    tokenizer.save_pretrained(str(folder))
    _edit(folder / "tokenizer_config.json", _older_tokenizer)


def add_older_keys(folder: Path) -> None:
    """Add the older names of rotary settings to config.json, where there is one.

    transformers 4.57 reads `rope_theta` and `rope_scaling` and passes over `rope_parameters`: it
    would load the model with the default frequency and answer wrongly without a word.
    """
    if (folder / "config.json").is_file():
        _edit(folder / "config.json", _older_rope)


def _older_tokenizer(config: dict[str, Any]) -> None:
    for key in _RUNTIME:
        config.pop(key, None)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")


def _older_rope(config: dict[str, Any]) -> None:
    for part in (config, config.get("text_config") or {}):
        rope = part.get("rope_parameters")
        if not isinstance(rope, dict) or "rope_theta" not in rope:
            continue  # none, or one set for each kind of layer, which has no older form
        part["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            part["rope_scaling"] = rope
        if "partial_rotary_factor" in rope:
            part["partial_rotary_factor"] = rope["partial_rotary_factor"]


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
