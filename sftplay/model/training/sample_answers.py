"""Sample answers while a model is trained: the same prompts at each look at the val loss, in the
log, in TensorBoard's text tab and for the report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from sftplay import console
from sftplay.data.tokenizing.artifact import read_split
from sftplay.errors import SftplayError
from sftplay.files import append_line
from sftplay.model.answers.generate import Answer, Request, answers
from sftplay.model.answers.last_answer import HeldOut, held_out, is_trained
from sftplay.model.answers.prompts import plain_text, window_of
from sftplay.model.answers.sampling import Sampling
from sftplay.model.answers.whole import can_decode

LONGEST = 128  # tokens of an answer: a sample, not an evaluation
_SHOWN = 200  # characters in the log


def read_samples(split: Path, count: int) -> list[HeldOut]:
    """Return the first rows by id, as an evaluation takes them: the same ones every time."""
    rows = [row for row in read_split(split).to_pylist() if is_trained(row)]
    return [held_out(row) for row in sorted(rows, key=lambda row: str(row["id"]))[:count]]


class TrainingSamples(TrainerCallback):
    """Answers a few prompts, greedily.

    Args:
        rows: whose last answers are asked for.
        stop_ids, pad_id: as in inference.
        limit: longest answer in tokens.
        file: samples.jsonl of the attempt, one line per look. A resumed run repeats steps: the last
            line of a step counts.
        writer: TensorBoard's; None without it.
    """

    def __init__(
        self,
        rows: Sequence[HeldOut],
        tokenizer: Any,
        stop_ids: Sequence[int],
        pad_id: int,
        limit: int,
        file: Path,
        writer: Any,
    ) -> None:
        self._rows, self._tokenizer = rows, tokenizer
        self._stop_ids, self._pad_id, self._limit = stop_ids, pad_id, min(limit, LONGEST)
        self._file, self._writer = file, writer
        self._own: bool | None = None  # unknown before the first look

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Answer, and show it. What fails here ends the samples, not the training."""
        if not self._rows:
            return
        model = kwargs["model"]
        training = model.training
        model.eval()
        try:
            found = self._answer(model)
        except (SftplayError, torch.OutOfMemoryError) as error:
            said = str(error).splitlines()[0][:160]
            console.warning(f"no sample answers from here on ({said}); the training continues")
            self._rows = []
            return
        finally:
            model.train(training)
        self._show(int(state.global_step), found)

    def _answer(self, model: Any) -> list[Answer]:
        if self._own is None:
            self._own = can_decode(model, self._pad_id).value
        window = window_of(model)
        requests = [
            Request(place, row.prompt, max(1, window - len(row.prompt)) if window else None)
            for place, row in enumerate(self._rows)
        ]
        found = dict(
            answers(
                model,
                requests,
                Sampling(self._limit),
                self._stop_ids,
                self._pad_id,
                len(requests),
                own=self._own,
            )
        )
        return [found[place] for place in range(len(requests))]

    def _show(self, step: int, found: Sequence[Answer]) -> None:
        entries = []
        for number, (row, answer) in enumerate(zip(self._rows, found, strict=True), 1):
            text = plain_text(self._tokenizer, answer.ids)
            entries.append(
                {
                    "id": row.row_id,
                    "prompt": plain_text(self._tokenizer, row.prompt),
                    "reference": plain_text(self._tokenizer, row.reference),
                    "answer": text,
                    "ended": answer.ended,
                }
            )
            console.log(f"step {step} sample {number}: {text[:_SHOWN]!r}")
            if self._writer is not None:
                self._writer.add_text(f"answers/{number}", _markdown(entries[-1]), step)
        try:
            line = json.dumps({"step": step, "samples": entries}, ensure_ascii=False)
            append_line(self._file, line)
        except SftplayError:
            pass  # a view; a full disk shows at the next checkpoint


def _markdown(entry: dict[str, Any]) -> str:
    """A sample for TensorBoard; indented lines are shown as they are."""

    def block(title: str, text: str) -> str:
        return f"**{title}**\n\n" + "\n".join(f"    {line}" for line in text.splitlines())

    titles = (("Prompt", "prompt"), ("Wanted", "reference"), ("Answer", "answer"))
    return "\n\n".join(block(title, entry[key]) for title, key in titles)
