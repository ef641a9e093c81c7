"""The command by which vLLM serves a run, and what a model card says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftplay.places import PublishedBase

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # --max-lora-rank takes these


def vllm_section(
    record: Mapping[str, Any], stamp: Mapping[str, Any], base: PublishedBase, *, adapter: bool
) -> str:
    """Return the section of a model card about vLLM."""
    line = vllm_line(str(record["name"]), stamp, base, adapter=adapter)
    if line is None:
        return (
            "vLLM does not load DoRA adapters. Merge it first (`inv merge`), and serve the merged model:"
            " `vllm serve FOLDER`."
        )
    return f"With vLLM:\n\n```\n{line}\n```"


def vllm_line(
    name: str,
    stamp: Mapping[str, Any],
    base: PublishedBase,
    *,
    adapter: bool,
    folder: str = "FOLDER",
) -> str | None:
    """Return the command that serves `folder` with vLLM; None for an adapter that it refuses.

    vLLM takes template and end tokens from the base, unless it is told where the run's are.
    """
    if not adapter:
        return f"vllm serve {folder}"
    lora = stamp["lora"] or {}
    if lora.get("dora"):
        return None
    rank = next((each for each in _RANKS if each >= int(lora["r"])), int(lora["r"]))
    revision = f" --revision {base.revision}" if base.on_hub and base.revision else ""
    return (
        f"vllm serve {base.name}{revision} --enable-lora --max-lora-rank {rank} --lora-modules {name}={folder}"
        f" --chat-template {folder}/chat_template.jinja --generation-config {folder}"
    )
