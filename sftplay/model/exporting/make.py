"""The making of a model's GGUF file: room, conversion, end of turn, quantization."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.model.gguf.convert import Converter, without_code
from sftplay.model.runtime.disk_room import require_room
from sftplay.model.weights.trained_run import RunFacts
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.temporary import temporary_folder
from sftplay.weights import read_tensors

# Bytes for each weight, with what is needed on the way: q4_k_m is made from an f16 file.
_ROOM = {"f16": 2.0, "q8_0": 1.1, "q4_k_m": 2.8}
_SPARE = 64 << 20


def require_room_for(run: Run, model: Path, quant: str, *, copies: int = 1) -> int:
    """Return how many weights a model has.

    Args:
        copies: how often its file is on the disk for a moment.

    Raises:
        StorageError: no room for that (74).
    """
    count = sum(math.prod(tensor.shape) for tensor in read_tensors(model).values())
    wanted = int(count * _ROOM[quant] * copies) + _SPARE
    require_room(run.folder, wanted, f"a {quant} file of this model")
    return count


def unknown_end(facts: RunFacts) -> int | None:
    """Return the run's end-of-turn token where the converter would not note it: it notes the
    tokenizer's end of text only.
    """
    eot: Any = facts.tokenizer.convert_tokens_to_ids(facts.eot)
    return None if eot == facts.tokenizer.eos_token_id else int(eot)


def write_model(
    converter: Converter, job: Job, facts: RunFacts, merged: Path, file: Path, quant: str
) -> None:
    """Write `file` from the merged model. Raises as `Converter.convert`."""
    with temporary_folder(file.with_name("made-from")) as place:
        (place / "plain").mkdir()
        trusted = job.settings.model.trust_remote_code
        source = without_code(merged, place / "plain", trusted=trusted)
        through = "f16" if quant == "q4_k_m" else quant
        console.info(f"converting to GGUF, {through}")
        made, end = place / "made.gguf", unknown_end(facts)
        converter.convert(source, made, through, job.run_name)
        if end is not None:
            console.info(f"noting that a turn ends with {facts.eot}")
            converter.mark_end(made, place / "marked.gguf", end)
            made.unlink()
            made = place / "marked.gguf"
        if through == quant:
            made.rename(file)
        else:
            console.info(f"quantizing to {quant}")
            converter.quantize(made, file, quant)
