"""Near duplicates: found by sketches, judged by the true Jaccard similarity, which is computed here
by brute force.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from sftplay.data.near_duplicates import sample, search
from tests.data.project import Project, jsonl, questions, read_lines

WORDS = [
    a + b
    for a in ("ka", "lo", "mi", "nu", "re", "so", "ta", "vu")
    for b in ("b", "d", "f", "g", "l", "n", "r", "s")
]


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


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


def alike(count: int) -> list[dict[str, str]]:
    """Rows of which every second one is nearly the one before."""
    chance = random.Random(1)
    texts = [text(chance, 60) for _ in range(count)]
    return [
        {"question": "Say it.", "answer": f"{each}{end}"}
        for each in texts
        for end in ("", " indeed")
    ]


def split_of_each(project: Project) -> dict[str, set[str]]:
    """The splits in which the rows of each group lie, by the words that its rows share."""
    found: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for row in read_lines(project.folder / f"data/processed/{split}.jsonl"):
            words = row["messages"][-1]["content"].removesuffix(" indeed")
            found.setdefault(words, set()).add(split)
    return found


def test_near_duplicates_stay_in_one_split(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(300)))
    done = project.run("process", "--set", "data.val_share=0.2", "--set", "data.test_share=0.2")
    assert done.code == 0, done.said
    groups = split_of_each(project)
    assert len(groups) == 300
    assert all(len(splits) == 1 for splits in groups.values())
    counts = Counter(split for splits in groups.values() for split in splits)
    assert 40 < counts["val"] < 80  # of 300 groups, by a hash: 60 are expected
    assert 40 < counts["test"] < 80
    report = project.report()
    assert report["splits"] == {split: 2 * counts[split] for split in ("train", "val", "test")}
    assert report["near_duplicates"]["across_splits"] == 0
    assert report["near_duplicates"]["found"] == 300
    moved = report["near_duplicates"]["moved"]
    assert f"300 near duplicates, 0 of them across splits; {moved} rows moved" in done.said
    again = project.outputs()
    project.put("qa.jsonl", jsonl(reversed(alike(300))))
    assert (
        project.run("process", "--set", "data.val_share=0.2", "--set", "data.test_share=0.2").code
        == 0
    )
    assert split_of_each(project) == groups
    assert set(again) == set(project.outputs())


def test_rows_that_are_all_alike_stay_where_they_are(project: Project) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    project.put(
        "qa.jsonl", jsonl([{"question": f"{words} {n}", "answer": "yes"} for n in range(300)])
    )
    done = project.run("process")
    assert done.code == 0, done.said
    assert "near_leaks" in {finding["kind"] for finding in project.report()["findings"]}
    assert all(project.report()["splits"].values())


def test_near_duplicates_are_counted_and_kept(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(100)))
    done = project.run("process", "--set", "data.near_duplicates=keep")
    assert done.code == 0, done.said
    report = project.report()
    assert (
        report["rows"]["out"],
        report["near_duplicates"]["found"],
        report["near_duplicates"]["dropped"],
    ) == (
        200,
        100,
        0,
    )
    across = report["near_duplicates"]["across_splits"]
    assert 1 <= across <= 40
    assert f"100 near duplicates, {across} of them across splits" in done.said
    assert "--set data.near_duplicates=drop" in done.said
    assert {"near_duplicates", "near_leaks"} <= {finding["kind"] for finding in report["findings"]}


def test_near_duplicates_are_left_out_where_that_is_asked_for(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(100)))
    done = project.run("process", "--set", "data.near_duplicates=drop")
    assert done.code == 0, done.said
    report = project.report()
    assert report["rows"] == {
        "in": 200,
        "out": 100,
        "rejected": 0,
        "duplicates": 0,
        "near_duplicates": 100,
    }
    answers = [row["messages"][-1]["content"].removesuffix(" indeed") for row in project.rows()]
    assert len(answers) == len(set(answers)) == 100
    assert sum(report["splits"].values()) == 100
    assert sum(count for *_, count in report["character_counts"]["answer"]) == 100
    again = project.run("process", "--set", "data.near_duplicates=drop", "--set", "data.workers=2")
    assert again.code == 0
    assert project.report() == report


def test_a_sample_says_that_it_is_one(project: Project) -> None:
    project.put("qa.jsonl", jsonl(alike(300)))

    def fewer() -> None:
        sample.SAMPLE = 200  # in the fork that runs the command

    assert project.run("process", first=fewer).code == 0
    found = project.report()["near_duplicates"]
    assert 150 < found["looked_at"] < 250
    assert "chosen by their ids" in found["why"]
    assert project.report()["rows"]["out"] == 600


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


def test_a_sample_chosen_while_rows_are_written_is_the_one_that_a_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 100)
    keys = [random.Random(n).getrandbits(64) for n in range(5000)]
    lines = [orjson.dumps({"messages": [], "id": f"{key:016x}", **{}}) + b"\n" for key in keys]
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    chosen = sample.Sample(2)
    for number, path in enumerate(paths):
        mine = slice(2000) if number == 0 else slice(2000, None)
        path.write_bytes(b"".join(lines[mine]))
        for first in range(0, 3000, 300):
            part = slice(first, first + 300)
            chosen.add(
                number, array("Q", keys[mine][part]), array("L", map(len, lines[mine][part]))
            )
    for number, path in enumerate(paths):
        searched = [at for some in sample.searched(number, path, 100 / 5000) for at in some.at]
        assert chosen.of(number, 100 / 5000) == searched
        assert 20 < len(searched) < 120
        assert chosen.of(number, 0.5) is None
