"""The data order: a permutation, the same for the same seed and epoch, of batches with like
lengths.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sftplay.model.training.order import (
    FILLER,
    EpochSampler,
    FilledRows,
    epoch_order,
    filled,
    real_tokens,
)

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=300)


@given(LENGTHS, st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 9))
def test_every_row_once_and_repeatable(
    lengths: list[int], seed: int, epoch: int, batch: int
) -> None:
    order = epoch_order(lengths, seed, epoch, batch)
    assert sorted(order) == list(range(len(lengths)))
    assert order == epoch_order(lengths, seed, epoch, batch)


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(1, 101))
    orders = {tuple(epoch_order(lengths, seed, epoch, 4)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_batches_hold_rows_of_like_length() -> None:
    lengths = [(i * 37) % 400 + 1 for i in range(400)]
    order = epoch_order(lengths, 0, 0, 8)

    def padding(rows: list[int]) -> int:
        return sum(
            max(lengths[r] for r in rows[i : i + 8]) * 8 - sum(lengths[r] for r in rows[i : i + 8])
            for i in range(0, len(rows), 8)
        )

    assert padding(order) < 0.2 * padding(list(range(400)))


def test_the_first_batch_is_not_always_the_longest() -> None:
    lengths = list(range(1, 201))
    assert len({epoch_order(lengths, seed, 0, 4)[0] for seed in range(20)}) > 5


def test_the_short_batch_is_last() -> None:
    lengths = list(range(1, 11))
    assert len(set(epoch_order(lengths, 3, 0, 4)[:8])) == 8


def test_the_sampler_follows_the_epoch() -> None:
    sampler = EpochSampler([3, 1, 2, 9, 4, 7], seed=5, batch_size=2)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) == epoch_order([3, 1, 2, 9, 4, 7], 5, 1, 2)
    sampler.set_epoch(0)
    assert list(sampler) == first


@given(LENGTHS, st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_ranks_share_each_step_and_repeat_no_row(
    lengths: list[int], rows: int, ranks: int, passes: int
) -> None:
    step = rows * ranks * passes
    order = epoch_order(lengths, 1, 0, step)
    dealt = filled(order, rows * ranks)
    assert len(dealt) % (rows * ranks) == 0
    assert [row for row in dealt if row != FILLER] == order
    batches = [dealt[i : i + rows] for i in range(0, len(dealt), rows)]
    of_rank = [batches[rank::ranks] for rank in range(ranks)]  # as accelerate deals them
    for number in range(0, len(order), step):
        taken = {
            row
            for mine in of_rank
            for batch in mine[number // step * passes : (number // step + 1) * passes]
            for row in batch
        }
        assert taken - {FILLER} == set(order[number : number + step])


def test_a_filler_trains_nothing_and_is_not_counted() -> None:
    from sftplay.model.forward.collate import Collator, Packer

    rows = FilledRows([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}])
    both = [rows[0], rows[FILLER]]
    for collate in (Collator(0), Packer()):
        assert real_tokens(collate(both)) == 3
        assert real_tokens(collate([rows[FILLER]] * 2)) == 0
    assert int((Collator(0)(both)["labels"] != -100).sum()) == 2
