"""Output of an evaluation: metrics.json, samples.jsonl, report.md, and a small table for the
screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from transformers import PreTrainedTokenizerFast

from sftplay.files import write_bytes, write_json, write_text
from sftplay.model.answers.prompts import plain_text
from sftplay.model.evaluation.held_out import HeldOut
from sftplay.model.evaluation.measurement import Measurement
from sftplay.model.evaluation.metrics import METRICS, perplexity, score_row, summarize

SHOWN: Mapping[str, str] = {
    "loss": "loss (nats per token)",
    "perplexity": "perplexity",
    **{name: f"{title} (0 to 100)" for name, title in METRICS.items()},
    "ended": "ended by itself (%)",
}  # metric → what the tables call it, in their order
_EXAMPLES = 5


def samples(
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[HeldOut],
    base: Measurement,
    tuned: Measurement,
) -> list[dict[str, Any]]:
    """One entry a row: prompt as the model reads it, reference, both answers, their scores."""
    entries = []
    for place, row in enumerate(rows):
        reference = plain_text(tokenizer, row.reference)
        answers = {"base": base.texts[place], "tuned": tuned.texts[place]}
        entries.append(
            {
                "id": row.row_id,
                "prompt": tokenizer.decode(
                    row.prompt, skip_special_tokens=False, clean_up_tokenization_spaces=False
                ),
                "reference": reference,
                **answers,
                "ended": {"base": base.ended[place], "tuned": tuned.ended[place]},
                "scores": {name: score_row(text, reference) for name, text in answers.items()},
            }
        )
    return entries


def compare(
    entries: Sequence[Mapping[str, Any]], base: Measurement, tuned: Measurement
) -> dict[str, dict[str, float]]:
    """Every metric for base and tuned model, and the difference (tuned less base)."""
    values = {name: _values(entries, name, one) for name, one in (("base", base), ("tuned", tuned))}
    return {
        metric: {
            "base": values["base"][metric],
            "tuned": values["tuned"][metric],
            "difference": values["tuned"][metric] - values["base"][metric],
        }
        for metric in SHOWN
    }


def _values(entries: Sequence[Mapping[str, Any]], name: str, one: Measurement) -> dict[str, float]:
    references = [entry["reference"] for entry in entries]
    scores = summarize([entry["scores"][name] for entry in entries], one.texts, references)
    ended = 100.0 * sum(one.ended) / len(one.ended)
    return {"loss": one.loss, "perplexity": perplexity(one.loss), **scores, "ended": ended}


def table(record: Mapping[str, Any]) -> str:
    """The metrics as plain text."""
    width = max(len(title) for title in SHOWN.values())
    lines = [f"{'':{width}}  {'base':>9}  {'tuned':>9}  {'difference':>10}"]
    for metric, title in SHOWN.items():
        base, tuned, difference = _numbers(record["metrics"][metric])
        lines.append(f"{title:{width}}  {base:>9}  {tuned:>9}  {difference:>10}")
    return "\n".join(lines)


def write(folder: Path, record: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the three files into `folder`."""
    write_json(folder / "metrics.json", record)
    write_bytes(
        folder / "samples.jsonl", b"".join(orjson.dumps(entry) + b"\n" for entry in entries)
    )
    write_text(folder / "report.md", _report(record, entries))


def _report(record: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    model, generation = record["model"], record["generation"]
    rows = ", ".join(f"{count:,} of {name}" for name, count in record["rows"].items())
    lines = [
        f"# {record['run']}: {record['split']} split",
        "",
        "| | base | tuned | difference |",
        "|---|---:|---:|---:|",
        *(
            f"| {title} | {' | '.join(_numbers(record['metrics'][metric]))} |"
            for metric, title in SHOWN.items()
        ),
        "",
        f"{model['base_model']} against the same model tuned by {model['method']}; {rows} rows, {record['trained_tokens']:,} "
        f"trained tokens; greedy, at most {generation['max_new_tokens']} tokens an answer; "
        f"{record['precision']} on {record['device']}. Every row with its scores: samples.jsonl.",
    ]
    if record["data_changed_since_training"]:
        lines += ["", "The data is not that of the training:", ""]
        lines += [f"- {line}" for line in record["data_changed_since_training"]]
    for entry in entries[:_EXAMPLES]:
        lines += ["", f"## {entry['id']}", ""]
        for title, key in (
            ("Prompt", "prompt"),
            ("Reference", "reference"),
            ("Base", "base"),
            ("Tuned", "tuned"),
        ):
            lines += [f"{title}:", "", _fenced(entry[key]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _fenced(text: str) -> str:
    """A text as a Markdown code block, whatever is in it."""
    fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _numbers(values: Mapping[str, float]) -> tuple[str, str, str]:
    return f"{values['base']:.3f}", f"{values['tuned']:.3f}", f"{values['difference']:+.3f}"
