"""Near duplicates in different splits: a group of them is put into one, so that evaluation does not
see what training saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sftplay.data.near_duplicates.search import NearDuplicate
from sftplay.data.split import Borders, row_key

Line = tuple[int, int]  # index of a file, where a line begins in it


def plan_moves(
    pairs: Iterable[NearDuplicate],
    rows: Sequence[int],
    borders: Borders,
    id_of: Callable[[Line], str],
) -> dict[Line, int]:
    """Return which lines go to which file.

    A group's split is decided by a hash of its lowest id, as a single row's is by its content: so
    the shares of the splits stay what they are. A group that is larger than a split goes to train.
    Where a split would lose more than half of its rows, the rows are too much alike to be kept
    together, and nothing moves.

    Args:
        rows: the number of rows of the files, which are those of test, val and train.
    """
    groups: dict[Line, list[Line]] = {}
    for pair in pairs:
        original = pair.like_file, pair.like_at
        groups.setdefault(original, [original]).append((pair.file, pair.at))
    train = len(rows) - 1
    moves: dict[Line, int] = {}
    for members in groups.values():
        key = int.from_bytes(row_key(min(map(id_of, members)).encode()), "big")
        target = train - borders.split_of(key)
        target = target if len(members) <= rows[target] else train
        moves |= {line: target for line in members if line[0] != target}
    change = Counter(moves.values())
    change.subtract(file for file, _ in moves)
    enough = all(2 * (count + change[file]) >= count for file, count in enumerate(rows))
    return moves if enough else {}


def move_lines(files: Sequence[Path], moves: Mapping[Line, int]) -> None:
    """Move lines to the ends of other files, in the order of the files and lines."""
    moved: dict[int, list[bytes]] = {}
    for number in sorted({file for file, _ in moves}):
        new, at = files[number].with_suffix(".new"), 0
        with open(files[number], "rb") as source, open(new, "wb") as out:
            for line in source:
                target = moves.get((number, at))
                if target is None:
                    out.write(line)
                else:
                    moved.setdefault(target, []).append(line)
                at += len(line)
        new.replace(files[number])
    for number, lines in moved.items():
        with open(files[number], "ab") as out:
            out.writelines(lines)
