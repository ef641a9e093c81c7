"""Choice of the attention implementation: the one that was asked for, or the one that a model has."""

from __future__ import annotations

from typing import Any

from sftplay import console
from sftplay.decision import Decision
from sftplay.settings import Settings

FLASH = "flash_attention_2"


def implementation_for(settings: Settings, device: str) -> str | None:
    """The name that transformers is given; None lets it take SDPA where the model has it."""
    asked = settings.model.attention
    if asked == FLASH and device != "cuda":
        console.info(f"attention: {FLASH} needs a GPU; without one, SDPA where the model has it")
        return None
    return None if asked == "auto" else asked


def implementation_of(model: Any, settings: Settings) -> Decision[str]:
    """The implementation that a loaded model has, and why."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    name = str(getattr(base.config, "_attn_implementation", None) or "eager")
    if settings.model.attention == name:
        return Decision(name, "asked for")
    has_sdpa = bool(getattr(base, "_supports_sdpa", False))
    if has_sdpa or name != "eager":
        return Decision(name, "auto: the fastest that transformers has for every model of its kind")
    return Decision(name, f"auto: transformers has no SDPA for {type(base).__name__}")
