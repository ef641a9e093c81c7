"""The name of the base model in an adapter's configuration."""

from __future__ import annotations

from typing import Any

from sftplay import console
from sftplay.places import published_base
from sftplay.settings import Settings


def name_base(model: Any, settings: Settings) -> None:
    """Write where others find the base into the adapter's configuration, instead of a path of this
    machine or container.
    """
    configs = getattr(model, "peft_config", {})
    if not configs:
        return
    base = published_base(settings)
    for config in configs.values():
        config.base_model_name_or_path, config.revision = base.name, base.revision
    if not base.on_hub:
        console.info(
            f"adapter_config.json names the base {base.name}: the folder's name, since a path is of no use elsewhere"
        )
