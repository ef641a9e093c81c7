"""Refusals of `process`: rows that can't be used, and warnings under --strict."""

from __future__ import annotations

import os
from pathlib import Path

from sftplay.console import count_of
from sftplay.data.conversion.report import ProcessCounts
from sftplay.errors import DataError
from sftplay.settings import DataSettings


def refuse_unusable(
    counts: ProcessCounts, settings: DataSettings, tmp: Path, folder: Path, rejects: str
) -> None:
    """Raise DataError where the rows can't be used.

    The rejects are put in place even so: they say why.
    """
    if not counts.rows_in:
        raise DataError(
            "no rows in any file", where=", ".join(settings.sources), todo="put your rows there"
        )
    share = counts.rejected / counts.rows_in
    if share > settings.max_reject_share:
        os.replace(tmp / rejects, folder / rejects)
        listing = "\n".join(f"  {line}" for line in counts.first_rejects)
        above = _share_above(share)
        leave = f", or leave them out: --set data.max_reject_share={above}" if share < 1 else ""
        fix = "\nor have the turns fixed: --set data.odd_turns=fix" if counts.out_of_order else ""
        raise DataError(
            f"{count_of(counts.rejected)} of {counts.rows_in:,} can't be used ({counts.reasons_text()}); "
            f"data.max_reject_share allows {settings.max_reject_share:.3g}\n{listing}",
            where=counts.first_place,
            todo=f"look at them in {folder / rejects}, then fix them{leave}{fix}",
        )
    if not counts.splits["train"]:
        todo = "add rows, or put fewer aside: --set data.val_share=0 --set data.test_share=0"
        raise DataError(
            f"none of {count_of(counts.rows_out)} is in the train split",
            where=", ".join(settings.sources),
            todo=todo,
        )


def refuse_warnings(counts: ProcessCounts, tmp: Path, folder: Path, rejects: str) -> None:
    """Apply --strict. The rejects are put in place even so: they say why."""
    try:
        counts.findings.refuse_warnings()
    except DataError:
        if counts.rejected:
            os.replace(tmp / rejects, folder / rejects)
        raise


def _share_above(share: float) -> float:
    return min(1.0, int(share * 100 + 1) / 100)
