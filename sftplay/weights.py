"""The weights of a model folder, by what its files say of themselves: no torch, a few
milliseconds.

A safetensors file begins with the header's length (8 bytes, little-endian) and the header itself:
JSON with each tensor's name, dtype, shape and place
(https://github.com/huggingface/safetensors, "Format"). Which tensors an architecture needs is known
to transformers only: `model.weights.loading_report` compares those when the model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.errors import NotFoundError, StorageError
from sftplay.files import open_regular
from sftplay.untrusted import AGAIN, parse_json, read_model_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_HEADER = 100_000_000  # the format's own limit, bytes
_LFS = b"version https://git-lfs"  # how a Git LFS pointer begins
_PICKLE = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file: its number format (F32, BF16, U8 …) and shape."""

    dtype: str
    shape: tuple[int, ...]


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model folder by name, from the files that transformers would load.

    Raises:
        NotFoundError: no weights, not all files of them, or Git LFS pointers (66).
        StorageError: a file that is damaged or cut off (74).
    """
    files, indexed = _weight_files(folder)
    found = {name: tensor for file in files for name, tensor in _header(file)}
    if lost := sorted(set(indexed) - set(found)):
        raise NotFoundError(
            f"{len(lost)} of {len(indexed)} tensors of the index are in no file, "
            f"the first is {lost[0]}",
            where=str(folder / INDEX),
            todo=AGAIN,
        )
    return found


def _weight_files(folder: Path) -> tuple[list[Path], Mapping[str, str]]:
    """The files to load, and the index's map of tensors to files (empty without an index)."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE], {}
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    index = read_model_json(folder / INDEX)
    indexed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(indexed, dict) or not all(isinstance(v, str) for v in indexed.values()):
        raise StorageError("no index of weights", where=str(folder / INDEX), todo=AGAIN)
    names = sorted(set(indexed.values()))
    lost = [name for name in names if not (folder / name).is_file()]
    if lost:
        raise NotFoundError(
            f"{len(lost)} of {len(names)} weight files are missing, the first is {lost[0]}",
            where=str(folder),
            todo=AGAIN,
        )
    return [folder / name for name in names], indexed


def _no_weights(folder: Path) -> NotFoundError:
    """Explain what is there instead of weights, and what to do about it."""
    if (folder / "adapter_config.json").is_file():
        return NotFoundError(
            "an adapter, not a model",
            where=str(folder),
            todo="model.name wants its base model; an adapter to start from: --init-adapter FOLDER",
        )
    if shards := sorted(folder.glob("model-*-of-*.safetensors")):
        return NotFoundError(
            f"the index of the weight files is missing ({INDEX}, for {len(shards)} files)",
            where=str(folder),
            todo=AGAIN,
        )
    pickles = sorted(path.name for pattern in _PICKLE for path in folder.glob(pattern))
    if pickles:
        return NotFoundError(
            f"only pickle weights ({pickles[0]}), which are not loaded: a pickle can run any code",
            where=str(folder),
            todo="use a copy of the model in safetensors; or, if you trust the file, convert it "
            "once outside sftplay: AutoModelForCausalLM.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER)",
        )
    other = next(iter(sorted(folder.glob("*.gguf"))), None)
    return NotFoundError(
        f"no weights there ({SINGLE}, or files with {INDEX}, are wanted)"
        + (f"; {other.name} is for llama.cpp" if other else ""),
        where=str(folder),
        todo=AGAIN if other is None else "use the model that this file was made from",
    )


def _header(file: Path) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the tensors of one file: its header is whole, and the file as long as it says."""
    try:
        with open_regular(file, links=True) as source:
            size = os.fstat(source.fileno()).st_size
            start = source.read(8)
            if start == _LFS[:8]:
                raise NotFoundError(
                    "a Git LFS pointer: the text that stands for a large file, not the weights",
                    where=str(file),
                    todo="in that folder: git lfs pull (or fetch the model again)",
                )
            length = int.from_bytes(start, "little")
            if not 2 <= length <= _MAX_HEADER:
                raise StorageError("not a safetensors file", where=str(file), todo=AGAIN)
            tensors = _tensors(parse_json(source.read(length), exact=False))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError("damaged header", where=str(file), todo=AGAIN) from error
    whole = 8 + length + max((end for _, _, end in tensors), default=0)
    if size < whole:
        raise StorageError(
            f"the file is cut off: {size:,} bytes of {whole:,}", where=str(file), todo=AGAIN
        )
    for name, tensor, _ in tensors:
        yield name, tensor


def _tensors(header: Mapping[str, Any]) -> list[tuple[str, StoredTensor, int]]:
    """Name, tensor and the end of its bytes for each entry of a header."""
    return [
        (
            name,
            StoredTensor(str(entry["dtype"]), tuple(int(n) for n in entry["shape"])),
            int(entry["data_offsets"][1]),
        )
        for name, entry in header.items()
        if name != "__metadata__"
    ]
