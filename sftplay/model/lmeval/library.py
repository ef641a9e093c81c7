"""lm-eval, held to what an evaluation may do: no network, no code in templates, no other process,
no files outside of a scratch folder, and no bars or prints of its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import MachineError, NotFoundError
from sftplay.lmeval import PACKAGES
from sftplay.task_data import LOCAL_FORMATS


def require_library() -> None:
    """MachineError (69) where lm-eval is not installed."""
    try:
        importlib.import_module("lm_eval")
    except ModuleNotFoundError as error:
        raise MachineError(
            f"{error.name} is not installed in this environment",
            todo="--runner local uses an environment that has it; in a Python of your own: "
            f"pip install {PACKAGES}",
        ) from error


@contextmanager
def prepared(datasets: Mapping[str, Path], scratch: Path) -> Iterator[None]:
    """Let the block use lm-eval.

    Args:
        datasets: hub id → folder with its files, for what tasks ask the hub for.
        scratch: a folder for the datasets library, which keeps what it has read.

    Raises:
        MachineError: it is not installed (69).
    """
    require_library()
    import datasets as library
    from lm_eval import utils
    from tqdm import tqdm

    load = library.load_dataset

    def load_local(path: str, name: str | None = None, **options: Any) -> Any:
        if path not in LOCAL_FORMATS and not Path(path).exists():
            options.pop("revision", None)  # that of the snapshot
            path = str(_snapshot(datasets, path))
        return load(path, name, **{**options, "cache_dir": str(scratch)})

    os.environ["DISABLE_MULTIPROC"] = "1"  # lm-eval: one process for its bootstrap
    with (
        _kept_in_log(),
        replaced(library, "load_dataset", load_local),
        replaced(utils, "env", _sandboxed(utils.env)),
        # bars that ask to be drawn still are: ours
        replaced(tqdm, "__init__", functools.partialmethod(tqdm.__init__, disable=True)),
    ):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value in the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _snapshot(datasets: Mapping[str, Path], name: str) -> Path:
    if name not in datasets:
        raise NotFoundError(
            f"a task reads the dataset {name}, which was not fetched",
            todo="it is named by the task's Python: such tasks work only if `fetch` can know their data",
        )
    return datasets[name]


def _sandboxed(plain: Any) -> Any:
    """Return lm-eval's environment of templates with jinja2's sandbox around it: in the plain one,
    a template can import modules and start programs. Each template is compiled once, not once a row.
    """
    from jinja2.sandbox import SandboxedEnvironment

    sandbox = SandboxedEnvironment(undefined=plain.undefined, keep_trailing_newline=True)
    compiled = functools.lru_cache(maxsize=256)(sandbox.from_string)
    sandbox.from_string = compiled  # type: ignore[method-assign, assignment]  # the same, kept
    sandbox.filters.update(plain.filters)
    return sandbox


@contextmanager
def _kept_in_log() -> Iterator[None]:
    """Send prints and warnings of lm-eval and datasets to the log: the screen has our lines."""
    with contextlib.ExitStack() as kept:
        for name in ("lm_eval", "datasets"):
            logger = logging.getLogger(name)
            kept.enter_context(replaced(logger, "handlers", [_ToLog()]))
            kept.enter_context(replaced(logger, "propagate", False))
        kept.enter_context(contextlib.redirect_stdout(_Lines()))
        kept.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *rest: console.log(f"lm-eval: {message}")
        yield


class _ToLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.log(f"lm-eval: {record.getMessage()}")


class _Lines(io.TextIOBase):
    def write(self, text: str) -> int:
        if text.strip():
            console.log(f"lm-eval: {text.rstrip()}")
        return len(text)
