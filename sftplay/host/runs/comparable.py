"""Comparability of evaluations: only those on the same rows may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sftplay.console import count_of
from sftplay.errors import SftplayError
from sftplay.host.runs.measured import number_in
from sftplay.host.runs.view import RunView
from sftplay.untrusted import parse_json, read_lines

Row = tuple[str, str]  # id and reference


def other_rows(views: Sequence[RunView]) -> list[str]:
    """Return a line for each run whose evaluation, or val loss, is on other rows than the first
    one's.
    """
    return [*_other_evaluations(views), *_other_val_rows(views)]


def _other_evaluations(views: Sequence[RunView]) -> list[str]:
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


def _other_val_rows(views: Sequence[RunView]) -> list[str]:
    """Return lines about the losses on the val split while training, of the table and the chart."""
    known = [(view, found) for view in views if view.val_loss is not None and (found := _val(view))]
    if not known:
        return []
    first, (wanted, count) = known[0]
    return [
        f"val losses not comparable: other val rows. {first.name}: {_counted(count)};"
        f" {view.name}: {_counted(others)}"
        for view, (found, others) in known[1:]
        if found != wanted
    ]


def _val(view: RunView) -> tuple[str, float | None] | None:
    """Return what tells a val split from others, and how many rows it has."""
    data = view.record.get("data")
    hashes = data.get("values_hash") if isinstance(data, Mapping) else None
    found = hashes.get("val") if isinstance(hashes, Mapping) else None
    count = number_in(data.get("rows") if isinstance(data, Mapping) else None, "val")
    return (str(found), count) if found else None


def _counted(count: float | None) -> str:
    return "unknown rows" if count is None else count_of(int(count))


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
