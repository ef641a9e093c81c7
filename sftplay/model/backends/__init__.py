"""The table of backends.

A backend is a plain module with the functions of `Backend`; importing it imports its libraries.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from sftplay.settings import Settings

BACKENDS: Mapping[str, str] = {
    "bnb": "sftplay.model.backends.bnb",
    "unsloth": "sftplay.model.backends.unsloth",
}


class Backend(Protocol):
    """Functions that training requires of a backend."""

    def load(self, settings: Settings, folder: Path, device: str, precision: str) -> Any:
        """The base model from a local folder, quantized where the method says so."""

    def prepare(self, model: Any, settings: Settings, init_adapter: Path | None) -> Any:
        """The model with what is to be trained: a new adapter, a given one, or every weight.

        Trainable weights in fp32.
        """


def load_backend(name: str) -> Backend:
    """Import a backend by its name."""
    return cast(Backend, importlib.import_module(BACKENDS[name]))
