"""Bars of huggingface_hub, folded into ours."""

from __future__ import annotations

import os
import threading
from typing import Any

from sftplay.data.progress import ProgressBar

_ON_DISK = "Reconstructing"  # its bar of bytes on disk; another one counts those of the network


def counting_into(bar: ProgressBar) -> type[Any]:
    """A class for `tqdm_class` of the hub's functions: draws nothing, counts bytes into `bar`."""
    from tqdm.auto import tqdm

    one_at_a_time = threading.Lock()  # files are fetched by several threads

    class Counting(tqdm):  # type: ignore[misc]
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts = str(kwargs.get("desc", "")).startswith(_ON_DISK)
            kwargs.pop("name", None)
            self._nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below
            super().__init__(*args, **{**kwargs, "file": self._nowhere})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self._counts:
                with one_at_a_time:
                    bar.expect(int(self.total or 0))
                    bar.advance(n or 0)
            return drawn

        def close(self) -> None:
            super().close()
            self._nowhere.close()

    return Counting
