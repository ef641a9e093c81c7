"""The tiny model, loaded for a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    """One for each module: tests leave modes and gradients in it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).train()
