"""The ranks of a training in its report: where each ran, how it ended, how long its steps took."""

from __future__ import annotations

from collections.abc import Iterator

from sftplay.errors import EXIT_MEANINGS, SftplayError
from sftplay.host.runs.live import seconds_of_ranks
from sftplay.host.runs.view import RunView
from sftplay.page import html
from sftplay.ranks import RankRecord, plan_file, read_plan, read_records

_COLUMNS = ("rank", "machine", "end", "last step", "seconds of the last step")


def ranks_of_run(view: RunView) -> Iterator[html.Markup]:
    """Yield a table of the newest start's ranks; nothing where one process trained."""
    attempts = view.run.attempts()
    folder = attempts[-1].ranks if attempts else None
    if folder is None or not plan_file(folder).exists():
        return
    try:
        plan = read_plan(plan_file(folder))
    except SftplayError as problem:
        yield html.section("Ranks", html.paragraph(str(problem), soft=True))
        return
    found = {record.rank: record for record in read_records(folder, plan.nonce)}
    seconds = seconds_of_ranks(view.progress)
    rows = [
        (
            str(rank),
            str(rank // plan.processes),
            *_end(found.get(rank)),
            f"{seconds[rank]:.3f}" if rank < len(seconds) else "",
        )
        for rank in range(min(plan.world_size, 1024))
    ]
    yield html.section(
        "Ranks",
        html.table(
            _COLUMNS,
            rows,
            caption="Above, the speed is that of all ranks, the memory that of rank 0.",
        ),
    )


def _end(record: RankRecord | None) -> tuple[str, str]:
    if record is None:
        return "left no record", ""
    meaning = EXIT_MEANINGS.get(record.code, "") if isinstance(record.code, int) else ""
    said = f"{record.code}: {record.message or meaning}" if record.code else "done"
    return said[:300], str(record.step)
