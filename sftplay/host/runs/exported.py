"""GGUF files of a run, as their proofs describe them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sftplay.errors import NotFoundError, SftplayError
from sftplay.files import human_size
from sftplay.runs import Run
from sftplay.untrusted import read_json


def exported(run: Run) -> Iterator[tuple[str, str]]:
    """Yield (file name, size and proof); nothing where no file was made."""
    try:
        files: Any = read_json(run.gguf / "proof.json").get("files")
    except NotFoundError:
        return
    except SftplayError as error:
        yield "gguf/proof.json", f"not readable: {error.what}"
        return
    for name, proof in sorted(files.items()) if isinstance(files, Mapping) else ():
        yield str(name), f"{_size(run, str(name))}{_proof(proof)}"


def _size(run: Run, name: str) -> str:
    try:
        return f"{human_size((run.gguf / name).lstat().st_size)}, "
    except (OSError, ValueError):
        return "missing, "


def _proof(proof: Any) -> str:
    try:
        by = "transformers" if proof.get("transformers") else "llama_cpp"
        found = proof[by]
        return (
            f"{proof['quant']}; as {by.replace('_', '.')} reads it: likeliest token the same at "
            f"{found['top1_agreement']:.1%} of {found['positions']} positions, "
            f"mean KL {found['mean_kl']:.2g}, a logit moved by {found['max_logit_difference']:.2g} at most"
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return "no usable proof"
