"""Comparability of evaluations: only those on the same rows may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sftplay.console import count_of
from sftplay.errors import SftplayError
from sftplay.host.runs.view import RunView
from sftplay.untrusted import parse_json, read_lines

Row = tuple[str, str]  # id and reference


def other_rows(views: Sequence[RunView]) -> list[str]:
    """Return a line for each run whose evaluation is on other rows than the first one's."""
    measured = [(view, split) for view in views if (split := _split(view))]
    if not measured:
        return []
    first, first_split = measured[0]
    wanted = set(evaluated_rows(first, first_split))
    return [
        f"not comparable: other rows. {_difference(first, first_split, wanted, view, split, found)}"
        for view, split in measured[1:]
        if (found := set(evaluated_rows(view, split))) != wanted or split != first_split
    ]


def evaluated_rows(view: RunView, split: str) -> Iterator[Row]:
    """Yield id and reference of each row of an evaluation."""
    try:
        for line in read_lines(view.run.eval(split) / "samples.jsonl"):
            value = parse_json(line)
            yield str(value["id"]), str(value["reference"])
    except (SftplayError, ValueError, KeyError, TypeError):  # torn, or gone: what there is, counts
        return


def _split(view: RunView) -> str | None:
    """The split whose figures are shown."""
    found = view.metric("loss") or view.metric("rouge_l")
    return found.split if found else None


def _difference(
    one: RunView, one_split: str, ones: set[Row], other: RunView, split: str, others: set[Row]
) -> str:
    said = f"{one.name}: {count_of(len(ones))} of {one_split}; {other.name}: {count_of(len(others))} of {split}"
    said += f"; {len(ones & others):,} are the same"
    for view, only in ((one, ones - others), (other, others - ones)):
        if only:
            said += f"; only in {view.name}: {', '.join(sorted(row[0] for row in only)[:3])}"
            said += " …" if len(only) > 3 else ""
    return said
