"""Step `lengths`: tokens/s and the attention kernel for short and long rows, padded and packed."""

from __future__ import annotations

from pathlib import Path

from sftplay.acceptance import SPEED
from sftplay.freshness import STAMP
from sftplay.model.acceptance.context import Context
from sftplay.model.acceptance.inputs import write_rows
from sftplay.untrusted import read_json

_TOKENS_IN_A_WORD, _AROUND = 1.2, 40  # at least; what is around an answer
_ROWS = 2  # of a pass


def run(context: Context) -> None:
    """Train a few steps of each length, padded and packed, in turns."""
    steps = context.amounts.length_steps
    for length in context.amounts.lengths:
        words = int((length - _AROUND) / _TOKENS_IN_A_WORD)
        raw = write_rows(Path(f"raw/{length}.jsonl"), _ROWS * steps + 8, words)
        for packing in (False, True):
            with context.row(f"{length} tokens, {'packed' if packing else 'padded'}") as values:
                record = context.train(
                    f"length-{length}-{'packed' if packing else 'padded'}",
                    data__raw=raw,
                    data__suffix=f"l{length}",
                    data__val_share=0,
                    data__on_too_long="truncate",  # the longest are as long as the model takes
                    model__max_length=length,
                    train__packing=packing,
                    train__batch_size=_ROWS,
                    train__max_steps=steps,
                    train__method="qlora",
                )
                effective = record["effective"]
                values.update(
                    {
                        SPEED: record["tokens_per_second"],
                        "attention": effective["attention"],
                        "longest": _longest(length),
                        "peak_mb": (record["peak_memory_bytes"] or 0) / 1e6,
                        "loss": "logits of trained tokens only",
                        "fewer_passes": effective["lean"],
                    }
                )


def _longest(length: int) -> int:
    """Return the tokens of the longest row that was trained on."""
    stamp = read_json(Path(f"data/tokenized_l{length}") / STAMP)
    return int(stamp["facts"]["max_tokens"])
