"""Output of an evaluation: metrics.json, samples.jsonl, report.md, and a small table for the
screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from transformers import PreTrainedTokenizerFast

from sftplay.files import write_bytes, write_json, write_text
from sftplay.model.answers.last_answer import HeldOut
from sftplay.model.answers.prompts import plain_text
from sftplay.model.evaluation.intervals import Sums, intervals, mean_of, ratio_of
from sftplay.model.evaluation.measurement import Measurement
from sftplay.model.evaluation.metrics import METRICS, chrf_sums, perplexity, score_row, summarize
from sftplay.significance import (
    FEWEST_ROWS,
    MARKS,
    METRIC_TITLES,
    Verdict,
    judge,
    show_number,
    titles_of,
)

_EXAMPLES = 5
_HEADING = 90  # characters of a question


def samples(
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[HeldOut],
    base: Measurement,
    tuned: Measurement,
    questions: Mapping[str, str],
) -> list[dict[str, Any]]:
    """One entry a row: prompt as the model reads it, reference, both answers, their scores.

    Args:
        questions: row id → the user's last words, where they are known.
    """
    entries = []
    for place, row in enumerate(rows):
        reference = plain_text(tokenizer, row.reference)
        answers = {"base": base.texts[place], "tuned": tuned.texts[place]}
        entries.append(
            {
                "id": row.row_id,
                "question": questions.get(row.row_id, ""),
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
) -> dict[str, dict[str, Any]]:
    """Every metric for base and tuned model, and the difference (tuned less base), each with its
    95 % interval.
    """
    values = {name: _values(entries, name, one) for name, one in (("base", base), ("tuned", tuned))}
    sums = {name: _sums(entries, name, one) for name, one in (("base", base), ("tuned", tuned))}
    found = {}
    for metric in METRIC_TITLES:
        first, second = values["base"][metric], values["tuned"][metric]
        ends = intervals(sums["base"][metric], sums["tuned"][metric])
        found[metric] = {
            "base": first,
            "tuned": second,
            "difference": second - first,
            **{
                f"{name}_interval": list(end)
                for name, end in zip(("base", "tuned", "difference"), ends, strict=True)
            },
        }
    return found


def _values(entries: Sequence[Mapping[str, Any]], name: str, one: Measurement) -> dict[str, float]:
    references = [entry["reference"] for entry in entries]
    scores = summarize([entry["scores"][name] for entry in entries], one.texts, references)
    ended = 100.0 * sum(one.ended) / len(one.ended)
    return {"loss": one.loss, "perplexity": perplexity(one.loss), **scores, "ended": ended}


def _sums(entries: Sequence[Mapping[str, Any]], name: str, one: Measurement) -> dict[str, Sums]:
    """Every metric of `_values` as a function of sums over rows."""
    scores = [entry["scores"][name] for entry in entries]
    loss = ratio_of(one.losses)
    return {
        "loss": loss,
        "perplexity": Sums(loss.rows, lambda sums: np.vectorize(perplexity)(loss.of(sums))),
        **{metric: mean_of([score[metric] for score in scores]) for metric in METRICS},
        "chrf": chrf_sums(one.texts, [entry["reference"] for entry in entries]),
        "ended": mean_of([100.0 * ended for ended in one.ended]),
    }


def rows_of(record: Mapping[str, Any]) -> int:
    """Return how many rows were measured."""
    return sum(record["rows"].values())


def table(record: Mapping[str, Any]) -> str:
    """The metrics as plain text."""
    titles, count = titles_of(record["metrics"]), rows_of(record)
    width = max(map(len, titles.values()), default=0)
    lines = [f"{'':{width}}  {'base':>8}  {'tuned':>8}  {'difference':>10}  95 % interval"]
    for metric, title in titles.items():
        values = record["metrics"][metric]
        base, tuned, difference = _numbers(values)
        low, high = values["difference_interval"]
        verdict = _verdict(metric, values, count)
        ends = f"{show_number(low, '+.2f')} to {show_number(high, '+.2f')}"
        line = f"{title:{width}}  {base:>8}  {tuned:>8}  {difference:>10}  {ends:<16}"
        lines.append(f"{line}  {'' if verdict == 'better' else verdict}".rstrip())
    return "\n".join([*lines, how_measured(count)])


def _verdict(metric: str, values: Mapping[str, Any], count: int) -> Verdict:
    lower = bool(values.get("lower_is_better"))
    return judge(metric, values["difference_interval"], count, lower_is_better=lower)


def how_measured(count: int) -> str:
    """Say on how many rows a table stands, and what its intervals are."""
    few = f": fewer than {FEWEST_ROWS}, which prove nothing" if count < FEWEST_ROWS else ""
    return f"on {count:,} rows{few}; intervals by bootstrap over rows; noise: 0 is inside"


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
        *markdown_table(record),
        "",
        f"In brackets: 95 % intervals, {how_measured(rows_of(record))}.",
        "",
        f"{model['base_model']} against the same model tuned by {model['method']}; {rows} rows, {record['trained_tokens']:,} "
        f"trained tokens; greedy, at most {generation['max_new_tokens']} tokens an answer; "
        f"{record['precision']} on {record['device']}. Every row with its scores: samples.jsonl.",
    ]
    if record["data_changed_since_training"]:
        lines += ["", "The data is not that of the training:", ""]
        lines += [f"- {line}" for line in record["data_changed_since_training"]]
    for entry in entries[:_EXAMPLES]:
        heading = " ".join(entry["question"].split())[:_HEADING] or f"Row {entry['id']}"
        lines += ["", f"## {heading}", ""]
        for title, key in (
            ("Prompt", "prompt"),
            ("Reference", "reference"),
            ("Base", "base"),
            ("Tuned", "tuned"),
        ):
            lines += [f"{title}:", "", _fenced(entry[key]), ""]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(record: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of all metrics, with their intervals."""
    lines = [_line(metric, title, record) for metric, title in titles_of(record["metrics"]).items()]
    return ["| | base | tuned | difference | |", "|---|---:|---:|---:|---|", *lines]


def _line(metric: str, title: str, record: Mapping[str, Any]) -> str:
    values = record["metrics"][metric]
    names = ("base", "tuned", "difference")
    cells = [
        f"{number} [{', '.join(show_number(end, '.3f') for end in values[f'{name}_interval'])}]"
        for name, number in zip(names, _numbers(values), strict=True)
    ]
    mark = MARKS[_verdict(metric, values, rows_of(record))]
    return f"| {title} | {' | '.join(cells)} | {mark} |"


def _fenced(text: str) -> str:
    """A text as a Markdown code block, whatever is in it."""
    fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _numbers(values: Mapping[str, float]) -> tuple[str, str, str]:
    base, tuned = (show_number(values[name], ".3f") for name in ("base", "tuned"))
    return base, tuned, show_number(values["difference"], "+.3f")
