"""Python's garbage collector, while modules and a model are loaded: half a million objects come,
and all of them stay.

Looking at them again and again for garbage that is not there takes a tenth of a training's start.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
_LOADING = (100_000, *_USUAL[1:])  # new objects between two looks; Python's own number is 700


@contextmanager
def loading() -> Iterator[None]:
    """A stage: the collector looks rarely, until `loaded` says that what is to stay is there."""
    gc.set_threshold(*_LOADING)
    try:
        yield
    finally:
        loaded()


def loaded() -> None:
    """As usual from here on: in a loop, garbage may hold memory of the GPU."""
    gc.set_threshold(*_USUAL)
