"""A decision is returned together with its reason; the reason is printed and stamped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Decision(Generic[T]):
    """A choice (`value`) and its reason (`reason`, half a sentence: "bf16: the GPU has compute
    capability 9.0").
    """

    value: T
    reason: str

    def __str__(self) -> str:
        return f"{self.value}: {self.reason}"
