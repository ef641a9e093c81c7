"""Near duplicates: found by sketches, judged by the true Jaccard similarity, which is computed here
by brute force.
"""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from sftplay.data.near_duplicates import sample, search
from tests.data.near_duplicates.texts import WORDS, text
from tests.data.project import Project, jsonl, questions


def changed(chance: random.Random, of: str, share: float) -> str:
    return " ".join(
        chance.choice(WORDS) if chance.random() < share else word for word in of.split()
    )


def triples(words: str) -> set[tuple[str, str, str]]:
    one = words.split()
    return {(a, b, c) for (a, b), (_, c) in zip(pairwise(one), pairwise(one[1:]), strict=False)}


def jaccard(one: str, other: str) -> float:
    a, b = triples(one), triples(other)
    return len(a & b) / len(a | b)


def put(folder: Path, texts: list[str], name: str = "train.jsonl") -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "one two"},
                {"role": "assistant", "content": each},
            ],
            "id": f"{n:016x}",
        }
        for n, each in enumerate(texts)
    ]
    (folder / name).write_bytes(jsonl(rows))
    return folder / name


def find(path: Path, count: int, **more: Any) -> search.Found:
    return search.find_near(
        [path], count, **{"every_row": True, "workers": 1, "advance": lambda _: None, **more}
    )


def line_starts(path: Path) -> dict[int, int]:
    starts, at = {}, 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        starts[at] = number
        at += len(line)
    return starts


@pytest.mark.parametrize("seed", range(4))
def test_what_is_called_a_near_duplicate_is_one_and_hardly_any_is_missed(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    texts: list[str] = []
    for _ in range(60):
        texts.append(text(chance, chance.randint(20, 120)))
        texts += [
            changed(chance, texts[-1], chance.choice((0.01, 0.03, 0.06, 0.2)))
            for _ in range(chance.randint(0, 4))
        ]
    chance.shuffle(texts)
    whole = [f"one two {each}" for each in texts]
    path = put(tmp_path, texts)
    starts = line_starts(path)
    found = {(starts[pair.like_at], starts[pair.at]) for pair in find(path, len(texts)).pairs}
    assert len(found) > 20
    assert all(jaccard(whole[a], whole[b]) >= search.LIKE and a < b for a, b in found)
    gone = {b for _, b in found}
    kept = [number for number in range(len(texts)) if number not in gone]
    missed = sum(jaccard(whole[a], whole[b]) >= search.LIKE for a, b in combinations(kept, 2))
    assert missed <= 0.02 * len(found)


def test_the_result_does_not_depend_on_workers(tmp_path: Path) -> None:
    chance = random.Random(7)
    base = [text(chance, 200) for _ in range(300)]
    path = put(tmp_path, [changed(chance, each, 0.01) for each in base for _ in range(3)])
    one, two = (find(path, 900, workers=workers).pairs for workers in (1, 2))
    assert one == two
    assert len(one) > 500


def test_a_sample_is_the_same_whatever_the_order_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 100)
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "same words in all rows"},
            ],
            "id": f"{random.Random(n).getrandbits(64):016x}",
        }
        for n in range(1000)
    ]
    sizes = set()
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        (tmp_path / "train.jsonl").write_bytes(jsonl(rows))
        found = find(tmp_path / "train.jsonl", 1000, every_row=False)
        sizes.add((found.looked_at, len(found.pairs)))
    ((looked_at, pairs),) = sizes
    assert 60 < looked_at < 150
    assert pairs == looked_at - 1


@pytest.mark.parametrize(
    "texts",
    [
        ["short", "short"],
        ["安全第一，预防为主，综合治理好", "安全第一，预防为主，综合治理吧"],
        ["Hello, World! Yes", "hello world yes"],
    ],
)
def test_short_texts_and_other_scripts(tmp_path: Path, texts: list[str]) -> None:
    found = find(put(tmp_path, texts), 2)
    assert (found.looked_at, len(found.pairs)) == (2, 1)


def test_nothing_and_one_row(tmp_path: Path) -> None:
    assert find(put(tmp_path, []), 0).pairs == ()
    assert find(put(tmp_path, ["alone"]), 1).pairs == ()


# --- through the command


def test_strict_fails_on_warnings_and_leaves_the_old_rows(project: Project) -> None:
    project.put("qa.jsonl", jsonl(questions(60)))
    assert project.run("process", "--strict").code == 0
    before = project.outputs()
    project.put("qa.jsonl", jsonl([*questions(60), *questions(2), {"question": "no answer"}]))
    done = project.run("process", "--strict", "--set", "data.max_reject_share=0.5")
    assert done.code == 65
    assert "2 × exact duplicates of an earlier row, removed" in done.said
    assert "1 × set aside: no answer: data/raw/qa.jsonl:63" in done.said
    assert project.outputs() | {"rejects.jsonl": b""} == before
    assert len(project.rejects()) == 1
    assert project.run("process", "--set", "data.max_reject_share=0.5").code == 0
