"""Choose what `train.method: auto` stands for, by the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftplay.decision import Decision

if TYPE_CHECKING:  # pydantic takes 0.2 s
    from sftplay.settings import Settings

_AUTO = {
    "cpu": Decision("lora", "on a CPU a 4-bit base saves little memory and costs time"),
    "cuda": Decision("qlora", "a 4-bit base leaves the GPU's memory to the rows"),
}


def choose_method(settings: Settings, device: str) -> Decision[str]:
    """Return the method of training on `device` (`cpu` or `cuda`), with the reason."""
    asked = settings.train.method
    return _AUTO[device] if asked == "auto" else Decision(asked, "asked for")


def with_method(settings: Settings, device: str) -> Settings:
    """Return the settings with the method that `device` trains by in the place of `auto`."""
    if settings.train.method != "auto":
        return settings
    train = settings.train.model_copy(update={"method": choose_method(settings, device).value})
    return settings.model_copy(update={"train": train})
