"""Answers before and after training, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sftplay.errors import SftplayError
from sftplay.host.runs.samples import user_words
from sftplay.host.runs.view import RunView
from sftplay.page import html
from sftplay.untrusted import parse_json, read_lines

ANSWERS = 10
LONGEST = 4000  # characters of a prompt or an answer


def answers_side_by_side(view: RunView) -> Iterator[html.Markup]:
    """Ten prompts, the answer of the base, of the tuned model, and the wanted one."""
    split = next(
        (
            name
            for name in ("val", "test", *view.metrics)
            if (view.run.eval(name) / "samples.jsonl").is_file()
        ),
        None,
    )
    if split is None:
        yield html.paragraph("None yet: they come with an evaluation.", soft=True)
        return
    torn = 0
    samples: list[dict[str, str]] = []
    try:
        for line in islice(read_lines(view.run.eval(split) / "samples.jsonl"), 4 * ANSWERS):
            sample = _sample(line)
            torn += sample is None
            samples += [sample] if sample and len(samples) < ANSWERS else []
    except SftplayError as error:
        yield html.notice("bad", f"samples.jsonl: {error.what}.")
    asked = user_words(view.run, split, {sample["id"] for sample in samples})
    for number, sample in enumerate(samples, 1):
        question = sample["question"] or asked.get(sample["id"], "")
        heading = " ".join(question.split()) or f"Row {sample['id']}"
        yield html.heading(f"{number}. {_shortened(heading, 90)}")
        yield html.details("Prompt and wanted answer", html.preformatted(_shortened(question or sample["prompt"], LONGEST)),
                           html.preformatted(_shortened(sample["reference"], LONGEST)))  # fmt: skip
        yield html.side_by_side(
            *(
                html.element(
                    "div",
                    html.paragraph(title, soft=True),
                    html.preformatted(_shortened(sample[key], LONGEST)),
                )
                for title, key in (("Before training", "base"), ("After training", "tuned"))
            )
        )
    if torn:
        yield html.paragraph(f"{torn} torn lines in samples.jsonl are left out.", soft=True)


def sample_answers(view: RunView) -> Iterator[html.Markup]:
    """A section with the answers to the same prompts during training, oldest first; nothing where
    none were asked for.
    """
    attempts = [one for one in view.run.attempts() if one.samples.is_file()]
    if not attempts:
        return
    looks: dict[int, list[dict[str, str]]] = {}
    try:
        for line in read_lines(attempts[-1].samples):
            found = _look(line)
            if found is not None:
                looks[found[0]] = found[1]  # a resumed run repeats steps: the last one counts
    except SftplayError as error:
        yield html.notice("bad", f"{attempts[-1].samples}: {error.what}.")
    parts: list[html.Markup] = []
    steps = sorted(looks)
    for number, sample in enumerate(looks[steps[-1]] if steps else [], 1):
        heading = _shortened(" ".join(sample["prompt"].split()), 90)
        wanted = html.preformatted(_shortened(sample["reference"], LONGEST))
        rows = [
            [str(step), html.preformatted(_shortened(looks[step][number - 1]["answer"], LONGEST))]
            for step in steps
            if len(looks[step]) >= number
        ]
        parts += [html.heading(f"{number}. {heading}"), html.details("Wanted answer", wanted)]
        parts.append(html.table(["step", "answer"], rows))
    if parts:
        yield html.section("Answers during training", *parts)


def _look(line: bytes) -> tuple[int, list[dict[str, str]]] | None:
    try:
        value = parse_json(line)
        keys = ("prompt", "reference", "answer")
        return int(value["step"]), [
            {key: str(one[key]) for key in keys} for one in value["samples"]
        ]
    except (ValueError, KeyError, TypeError):
        return None


def _sample(line: bytes) -> dict[str, str] | None:
    try:
        value = parse_json(line)
        found = {key: str(value[key]) for key in ("id", "prompt", "reference", "base", "tuned")}
        return {**found, "question": str(value.get("question") or "")}
    except (ValueError, KeyError, TypeError):
        return None


def _shortened(words: str, limit: int) -> str:
    return (
        words
        if len(words) <= limit
        else f"{words[:limit]} … ({len(words) - limit:,} more characters)"
        if limit > 200
        else f"{words[:limit]} …"
    )
