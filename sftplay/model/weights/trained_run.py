"""A trained run, read and verified: its weights, tokenizer, frozen template and records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from sftplay.data.rendering.template import ChatTemplate, checked_template
from sftplay.data.tokenizing.tokenizer import load_tokenizer, read_tokenizer
from sftplay.errors import RefusedError
from sftplay.model.weights.generation_config import stop_ids
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from sftplay.untrusted import read_json, read_text


@dataclass(frozen=True)
class RunFacts:
    """Facts about a trained run that eval, infer and merge need, verified.

    Attributes:
        tuned: folder of the adapter, or of the tuned weights of a `full` run.
        tokenizer: the run's, with its frozen template.
        template: the run's frozen chat template.
        eot: end-of-turn token; eot_ids: its id and the tokenizer's end of text.
        stamp: backend.json; record: run.json.
    """

    run: Run
    method: str
    tuned: Path
    tokenizer: PreTrainedTokenizerFast
    template: ChatTemplate
    eot: str
    eot_ids: list[int]
    stamp: dict[str, Any]
    record: dict[str, Any]


def open_run(run: Run) -> RunFacts:
    """Read a trained run.

    Raises:
        NotFoundError: never trained (66). RefusedError: its weights or its template were changed
            (76).
    """
    tuned = run.require_tuned()
    record = read_json(run.record)
    try:
        facts, method = dict(record["template"]), str(record["method"])
        known, eot, eot_id = facts["hash"], facts["eot"], facts["eot_id"]
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            "run.json does not hold what training writes",
            where=str(run.record),
            todo="restore the file, or train again",
        ) from error
    source = read_text(run.template)
    tokenizer = load_tokenizer(tuned, source)
    template = checked_template(
        source, read_tokenizer(tuned).named, facts.get("date"), str(run.template)
    )
    if template.hash != known:
        raise RefusedError(
            "the run's chat template was changed since training",
            where=str(run.template),
            todo="restore the file: a model only understands the template that it was trained with",
        )
    return RunFacts(
        run=run,
        method=method,
        tuned=tuned,
        tokenizer=tokenizer,
        template=template,
        eot=eot,
        eot_ids=stop_ids(tokenizer, eot_id),
        stamp=read_stamp(run.stamp).model_dump(mode="json"),
        record=record,
    )
