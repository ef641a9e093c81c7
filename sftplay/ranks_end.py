"""Exit code of a training with ranks, from what they left: a table of rules, the first that applies
decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sftplay.ranks import NATIVE, STOPPED, Cause, RankEnd, RankRecord, RanksEnd


@dataclass(frozen=True)
class _Left:
    """Traces of the ranks of a start: records in order of time, ends as the system saw them."""

    ranks: Sequence[int]
    records: Sequence[RankRecord]
    ends: Mapping[int, RankEnd]
    asked: int

    @property
    def silent(self) -> list[int]:
        """Ranks without a record."""
        written = {record.rank for record in self.records}
        return [rank for rank in self.ranks if rank not in written]

    def of(self, cause: Cause) -> list[RankRecord]:
        return [record for record in self.records if record.cause == cause]


def ranks_end(
    ranks: Sequence[int], records: Iterable[RankRecord], ends: Iterable[RankEnd], asked: int = 0
) -> RanksEnd:
    """Return the exit code of a training from what its ranks left. Pure.

    Args:
        ranks: those that have to be done: all, or those of one machine.
        records: of this start. ends: of the ranks that ended with another code than 0.
        asked: the signal that the front received; 0: none.
    """
    ordered = sorted(records, key=lambda record: (record.time, record.rank))
    left = _Left(ranks, ordered, {end.rank: end for end in ends}, asked)
    found = (rule(left) for rule in _RULES)
    return next((end for end in found if end is not None), RanksEnd(0, "done"))


def _failed(left: _Left) -> RanksEnd | None:
    """The earliest failure of a rank's own."""
    own = [one for one in left.of("own") if one.code not in (0, *STOPPED)]
    return (
        RanksEnd(own[0].code, own[0].message or own[0].error, own[0].rank, own[0]) if own else None
    )


def _crashed(left: _Left) -> RanksEnd | None:
    """A rank that was killed or crashed. An abort counts last: a library aborts when the connection
    to a crashed rank is lost.
    """
    native = [
        left.ends[rank]
        for rank in left.silent
        if rank in left.ends
        and left.ends[rank].code in NATIVE
        and (left.asked or not left.ends[rank].killed)
    ]
    if not native:
        return None
    first = min(native, key=lambda end: (end.code == 134, end.rank))
    return RanksEnd(first.code, f"ended by signal {first.code - 128}", first.rank)


def _stopped(left: _Left) -> RanksEnd | None:
    """A stop: of the front, or of a rank before any connection was lost. The agent stops the ranks
    that a lost one leaves behind.
    """
    peers = left.of("peer")
    stops = [
        one for one in left.of("signal") if left.asked or not peers or one.time <= peers[0].time
    ]
    if stops:
        saved = next((one for one in stops if one.code == 85), stops[0])
        return RanksEnd(saved.code, saved.message or "stopped by a signal", saved.rank, saved)
    codes = [
        left.ends[rank].code
        for rank in left.silent
        if rank in left.ends and left.ends[rank].code in STOPPED and not left.ends[rank].killed
    ]
    if left.asked or (codes and not peers):
        return RanksEnd(128 + left.asked if left.asked else codes[0], "stopped by a signal")
    return None


def _lost(left: _Left) -> RanksEnd | None:
    """A collective that failed, where no rank says why. Who did not wait is the one that was slow."""
    peers = left.of("peer")
    if not peers:
        return None
    waiting = {record.rank for record in peers if record.waited}
    if not waiting:
        return RanksEnd(69, peers[0].message, peers[0].rank, peers[0])
    slow = [rank for rank in left.ranks if rank not in waiting]
    named = ", ".join(f"rank {rank}" for rank in slow) or "one of the ranks"
    return RanksEnd(69, f"{named} did not answer: {peers[0].message}", slow[0] if slow else None)


def _missing(left: _Left) -> RanksEnd | None:
    """A rank that neither wrote a record nor was ended by a signal."""
    if not left.silent:
        return None
    rank = left.silent[0]
    code = left.ends[rank].code if rank in left.ends else 0
    return RanksEnd(70, f"ended with {code} and left no record", rank)


# the first that applies decides
_RULES = (_failed, _crashed, _stopped, _lost, _missing)
