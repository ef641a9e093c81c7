"""Explanations of a library's errors while a model is loaded: what happened, and what to do next."""

from __future__ import annotations

import importlib.metadata
import re
import traceback
from collections.abc import Callable
from pathlib import Path

from sftplay import console
from sftplay.errors import (
    ConfigError,
    MachineError,
    NotFoundError,
    OutOfMemoryError,
    SftplayError,
    StorageError,
)
from sftplay.untrusted import AGAIN, read_model_json

Builder = Callable[[Path, str], SftplayError]


def explain_load(error: Exception, folder: Path) -> SftplayError:
    """The failure of a load in our words; the traceback goes to the log."""
    console.log(f"loading {folder} failed:\n{''.join(traceback.format_exception(error))}")
    import torch

    text = str(error)
    said = next((line for line in text.splitlines() if line.strip()), type(error).__name__)[:300]
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfMemoryError(
            "out of GPU memory while the model was loaded",
            where=str(folder),
            todo="--set train.method=qlora, or a smaller model; see what else uses the GPU: nvidia-smi",
        )
    for pattern, build in _TABLE:
        if re.search(pattern, f"{type(error).__name__}: {text}", re.DOTALL):
            return build(folder, said)
    return NotFoundError(f"the model can't be loaded: {said}", where=str(folder))


def _remote_code(folder: Path, said: str) -> SftplayError:
    return NotFoundError(
        "this model needs Python code of its own, which is not run",
        where=str(folder),
        todo="choose a model that transformers knows; or, if you have read the code in that folder "
        "and trust it: --set model.trust_remote_code=true",
    )


def _unknown(folder: Path, said: str) -> SftplayError:
    version = importlib.metadata.version("transformers")
    return NotFoundError(
        f"transformers {version} does not know the architecture {_type(folder)!r}",
        where=str(folder / "config.json"),
        todo="choose a model that it knows: an older one of the same family, for example",
    )


def _not_causal(folder: Path, said: str) -> SftplayError:
    config = read_model_json(folder / "config.json")
    kind, todo = f"no causal language model ({_type(folder)})", "choose a decoder-only model"
    if any(key in config for key in ("vision_config", "audio_config")):
        kind = (
            f"a model for pictures or sound ({_type(folder)}), of which no text part can be loaded"
        )
        todo = "choose the text model of the same family"
    return ConfigError(
        f"{kind}: sftplay trains causal language models", where=f"model.name: {folder}", todo=todo
    )


def _type(folder: Path) -> str:
    return str(read_model_json(folder / "config.json").get("model_type") or "?")


def _damaged(folder: Path, said: str) -> SftplayError:
    return StorageError(f"damaged weights ({said})", where=str(folder), todo=AGAIN)


def _no_memory(folder: Path, said: str) -> SftplayError:
    return MachineError(
        "out of memory while the model was loaded",
        where=str(folder),
        todo="a smaller model, or a machine with more memory; inv check says how much it takes",
    )


def _no_package(folder: Path, said: str) -> SftplayError:
    return MachineError(
        f"this model needs a package that is in no lock of sftplay ({said})",
        where=str(folder),
        todo="choose a model that transformers loads without it",
    )


def _no_attention(folder: Path, said: str) -> SftplayError:
    return ConfigError(
        f"this model can't have the attention that was asked for ({said})",
        where=f"model.attention, for {folder}",
        todo="let it take what it has: --set model.attention=auto",
    )


# The first row that fits decides: the exception's class and text, as transformers 5 words them.
_TABLE: tuple[tuple[str, Builder], ...] = (
    (
        r"does not support an attention implementation|[Ff]lash_?[Aa]ttention|flash_attn",
        _no_attention,
    ),
    (r"contains custom code which must be executed", _remote_code),
    (r"does not recognize this architecture|should have a `model_type` key", _unknown),
    (r"Unrecognized configuration class", _not_causal),
    (r"^SafetensorError", _damaged),
    (r"^MemoryError|not enough memory: you tried to allocate", _no_memory),
    (r"^(ImportError|ModuleNotFoundError)", _no_package),
)
