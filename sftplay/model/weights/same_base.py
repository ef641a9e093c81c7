"""An adapter is a difference: it means something only on the base model that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sftplay.errors import RefusedError
from sftplay.fingerprint import fingerprint
from sftplay.places import find_model
from sftplay.settings import Settings

if TYPE_CHECKING:
    from sftplay.model.weights.trained_run import RunFacts


def require_same_base(settings: Settings, facts: RunFacts) -> Path:
    """The folder of the run's base model.

    Raises:
        NotFoundError: it is not there (66). RefusedError: it is another model than the one that was
            trained (76).
    """
    folder = find_model(settings)
    if fingerprint(folder) != facts.stamp["weights_hash"]:
        raise RefusedError(
            f"this base model is not the one that was trained ({facts.stamp['base_model']})",
            where=str(folder),
            todo=f"use the run's own config: --run {facts.run.name} without --config; or restore model.name and model.revision",
        )
    return folder
