"""data.mix: rows of several sources in the shares that were asked for."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter

import pytest

from sftplay.cli import make_job
from sftplay.data.process import freshness
from tests.data.project import SPLITS, Done, Project, jsonl, questions, read_lines

MANY = 10_000  # first number in the rows of the second source


def _mix(project: Project, weights: str, *words: str) -> Done:
    (project.folder / "config.yaml").write_text(f"data:\n  mix: {weights}\n")
    return project.run("process", *words)


def _by_source(project: Project) -> dict[str, Counter[str]]:
    """Rows of each split by the source that their numbers tell."""
    found = {}
    for split in SPLITS:
        rows = read_lines(project.folder / f"data/processed/{split}.jsonl")
        numbers = [int(re.findall(r"\d+", row["messages"][0]["content"])[0]) for row in rows]
        found[split] = Counter("b" if number >= MANY else "a" for number in numbers)
    return found


@pytest.fixture
def two(project: Project) -> Project:
    """A project with 900 rows in a.jsonl and 200 in b.jsonl."""
    project.put("a.jsonl", jsonl(questions(900)))
    project.put("b.jsonl", jsonl(questions(200, first=MANY)))
    return project


BOTH = "{data/raw/a.jsonl: 3, data/raw/b.jsonl: 2}"


def test_each_split_has_the_shares_until_a_source_ends(two: Project) -> None:
    done = _mix(two, BOTH)
    assert done.code == 0 and "misses its share" not in done.said, done.said
    rows = _by_source(two)
    for split in SPLITS:
        a, b = rows[split]["a"], rows[split]["b"]
        assert abs(a - 1.5 * b) <= 1 or (split != "train" and a + b == 20), (split, a, b)
    report = two.report()
    mix = report["mix"]
    assert mix["strategy"] == "first_exhausted" and mix["exhausted"] == ["data/raw/b.jsonl"]
    assert sum(rows["train"].values()) > 400  # b's rows, all of them, and half as many again
    for one, name in zip(mix["sources"], "ab", strict=True):
        assert one["rows"] == {split: rows[split][name] for split in SPLITS}
        assert one["asked"] == (0.6 if name == "a" else 0.4)
        assert one["shares"]["train"] == pytest.approx(one["asked"], abs=0.01)
    counted = report["rows"]
    assert counted["in"] == 1100 == counted["out"] + counted["left_out"]
    assert counted["out"] == sum(sum(split.values()) for split in rows.values())
    assert (
        "of train that is" in done.said
        and "b.jsonl" in done.said.rpartition("of train")[2]
        and "(asked: 60.0%)" in done.said
    )
    assert "share asked" in (two.folder / "data/processed/report.html").read_text()


def test_the_order_of_rows_sources_and_workers_changes_nothing(two: Project) -> None:
    def ids() -> dict[str, set[str]]:
        return {
            split: {row["id"] for row in read_lines(two.folder / f"data/processed/{split}.jsonl")}
            for split in SPLITS
        }

    assert _mix(two, BOTH).code == 0
    once, outputs = ids(), two.outputs()
    assert _mix(two, BOTH, "--set", "data.workers=2").code == 0
    assert two.outputs() == outputs
    rows = questions(900)
    random.Random(3).shuffle(rows)
    two.put("a.jsonl", jsonl(rows))
    assert _mix(two, "{data/raw/b.jsonl: 4, data/raw/a.jsonl: 6}").code == 0
    assert ids() == once


def test_more_rows_of_the_longer_source_keep_most_of_what_was_taken(two: Project) -> None:
    assert _mix(two, BOTH).code == 0
    before = {row["id"] for row in two.rows()}
    two.put("b.jsonl", jsonl(questions(210, first=MANY)))
    assert _mix(two, BOTH).code == 0
    assert len(before - {row["id"] for row in two.rows()}) < 0.05 * len(before)


@pytest.mark.parametrize("how", ["group", "drop"])
def test_near_duplicates_across_sources(project: Project, how: str) -> None:
    """A third of b's rows are like rows of a: dropped ones are no rows when the shares are taken."""
    chance = random.Random(5)
    texts = [" ".join(str(chance.randrange(MANY)) for _ in range(20)) for _ in range(300)]
    for name, first, own in (("a", 0, texts[:200]), ("b", MANY, texts[:50] + texts[200:])):
        rows = [{"question": f"{n} {text}", "answer": text} for n, text in enumerate(own, first)]
        project.put(f"{name}.jsonl", jsonl(rows))
    words = ("--set", f"data.near_duplicates={how}", "--set", "data.val_share=0.2")
    done = _mix(project, "{data/raw/a.jsonl: 1, data/raw/b.jsonl: 1}", *words)
    assert done.code == 0, done.said
    report, rows = project.report(), _by_source(project)
    counted = report["rows"]
    kept = sum(sum(split.values()) for split in rows.values())
    assert counted["out"] == kept == sum(report["splits"].values())
    assert counted["in"] == 350 == kept + counted["left_out"] + counted["near_duplicates"]
    for one, name in zip(report["mix"]["sources"], "ab", strict=True):
        assert one["rows"] == {split: rows[split][name] for split in SPLITS}
    if how == "drop":
        assert counted["near_duplicates"] == 50
        assert abs(rows["train"]["a"] - rows["train"]["b"]) <= 1
    else:
        assert report["near_duplicates"]["across_splits"] == 0


def test_a_folder_is_one_source_and_equal_rows_are_the_first_ones(project: Project) -> None:
    project.put("one/x.jsonl", jsonl(questions(50)))
    project.put("one/y.jsonl", jsonl(questions(50, first=50)))
    project.put("two.jsonl", jsonl([*questions(30), *questions(100, first=MANY)]))
    assert _mix(project, "{data/raw/one: 1, data/raw/two.jsonl: 1}").code == 0
    one, two = project.report()["mix"]["sources"]
    assert (one["usable"], two["usable"]) == (100, 100)


def test_the_order_of_the_sources_does_not_decide_whose_an_equal_row_is(project: Project) -> None:
    project.put("a.jsonl", jsonl(questions(60)))
    project.put("b.jsonl", jsonl([*questions(30), *questions(60, first=MANY)]))
    outputs = []
    for weights in (
        "{data/raw/a.jsonl: 1, data/raw/b.jsonl: 2}",
        "{data/raw/b.jsonl: 2, data/raw/a.jsonl: 1}",
    ):
        assert _mix(project, weights).code == 0
        outputs.append(project.outputs())
    assert outputs[0] == outputs[1]


def test_a_source_without_rows_in_a_split_is_named(project: Project) -> None:
    project.put("a/train.jsonl", jsonl(questions(80)))
    project.put("a/test.jsonl", jsonl(questions(20, first=500)))
    project.put("b.jsonl", jsonl(questions(80, first=MANY)))
    done = _mix(project, "{data/raw/a: 1, data/raw/b.jsonl: 1}")
    assert done.code == 0 and "2 × a source of data.mix misses its share of test: " in done.said
    assert "data/raw/b.jsonl has no row (asked: 50.0%)" in done.said
    assert _by_source(project)["test"] == {"a": 20}


def test_a_source_that_has_most_rows_left_out_is_named(two: Project) -> None:
    two.put("c.jsonl", jsonl(questions(30, first=MANY + 1000)))
    done = _mix(two, "{data/raw/a.jsonl: 3, data/raw/b.jsonl: 1, data/raw/c.jsonl: 1}", "--strict")
    assert done.code == 0, done.said
    a, _, c = two.report()["mix"]["sources"]
    said = done.said.partition("limits all others: ")[2].partition("\n")[0]
    assert said.startswith("data/raw/c.jsonl has "), done.said
    counted = two.report()["rows"]
    left, usable = re.findall(r"so ([\d,]+) of ([\d,]+) rows", said)[0]
    of_train = sum(_by_source(two)["train"].values())
    assert int(usable.replace(",", "")) - int(left) == of_train
    assert int(left) <= counted["left_out"] and a["rows"]["train"] == 3 * c["rows"]["train"]
    done = _mix(two, "{data/raw/a.jsonl: 30, data/raw/b.jsonl: 6, data/raw/c.jsonl: 1}")
    assert done.code == 0 and "limits all others" not in done.said, done.said


def test_a_share_that_no_split_can_have_is_named_for_each(two: Project) -> None:
    two.put("c.jsonl", jsonl(questions(100, first=MANY + 1000)))
    done = _mix(two, "{data/raw/a.jsonl: 1, data/raw/b.jsonl: 1, data/raw/c.jsonl: 1e-9}")
    assert done.code == 0, done.said
    for split in SPLITS:
        said = done.said.partition(f"misses its share of {split}: ")[2].partition("\n")[0]
        assert "c.jsonl has 1 row, " in said and "(asked: <0.1%)" in said, done.said
        assert "a.jsonl" not in said and "b.jsonl" not in said
    assert two.run("process", "--strict").code == 65


def test_what_ends_a_split_is_recorded_for_each(project: Project) -> None:
    project.put("a/train.jsonl", jsonl(questions(200)))
    project.put("a/test.jsonl", jsonl(questions(3, first=900)))
    project.put("b/train.jsonl", jsonl(questions(80, first=MANY)))
    project.put("b/test.jsonl", jsonl(questions(40, first=MANY + 900)))
    done = _mix(project, "{data/raw/a: 1, data/raw/b: 1}", "--set", "data.val_share=0")
    assert done.code == 0, done.said
    assert "of train that is data/raw/b; of test that is data/raw/a" in done.said
    a, b = project.report()["mix"]["sources"]
    assert (a["exhausted_in"], b["exhausted_in"]) == (["test"], ["train"])
    assert (a["rows"]["test"], b["rows"]["test"]) == (3, 3)
    page = (project.folder / "data/processed/report.html").read_text()
    assert "3 (50.0%)" in page and "80 (50.0%)" in page


def test_a_source_that_has_nothing_to_train_on_is_refused(two: Project) -> None:
    two.put("c.jsonl", jsonl(questions(200)))
    done = _mix(two, "{data/raw/a.jsonl: 1, data/raw/c.jsonl: 1}")
    assert done.code == 65 and "data/raw/c.jsonl" in done.said, done.said


@pytest.mark.parametrize(
    ("weights", "code", "said"),
    [
        ("{data/raw/a.jsonl: 1, data/raw/none.jsonl: 1}", 66, "data/raw/none.jsonl"),
        ("{data/raw/a.jsonl: 1, nobody/nothing: 1}", 66, "nobody/nothing"),
        ("{data/raw/a.jsonl: 0}", 78, "data.mix"),
        ("{data/raw/a.jsonl: -1, data/raw/b.jsonl: 1}", 78, "data.mix"),
        ("{data/raw/a.jsonl: .nan}", 78, "data.mix"),
        ("{data/raw/a.jsonl: many}", 78, "data.mix"),
        ("{}", 78, "data.mix"),
        ("[data/raw/a.jsonl]", 78, "data.mix"),
        ("{data/raw/a.jsonl: 1}\n  raw: data/raw/b.jsonl", 78, "keep one of them"),
    ],
)
def test_what_can_not_be_mixed(two: Project, weights: str, code: int, said: str) -> None:
    done = _mix(two, weights)
    assert (done.code, said in done.said) == (code, True), done.said
    assert not list((two.folder / "data").glob("processed/*.jsonl"))


def test_a_source_without_files_is_named(two: Project) -> None:
    (two.folder / "data/raw/empty").mkdir()
    done = _mix(two, "{data/raw/a.jsonl: 1, data/raw/empty: 1}")
    assert done.code == 65 and "data/raw/empty: no data files" in done.said, done.said


def _hub(project: Project, revisions: dict[str, list[dict[str, str]]]) -> None:
    """Put revisions of owner/rows into the cache, as `fetch` does."""
    for revision, rows in revisions.items():
        folder = project.folder / "cache/hub" / revision
        folder.mkdir(parents=True)
        (folder / "train.jsonl").write_bytes(jsonl(rows))
        record = {"folder": f"hub/{revision}", "revision": revision, "files": ["train.jsonl"]}
        path = project.folder / f"cache/datasets/owner--rows@{revision}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "others",
    [
        ["data/raw"],
        ["data/raw/*.jsonl"],
        ["./data/raw/a.jsonl"],
        ["{folder}/data/raw/a.jsonl"],
        ["data/raw/soft.jsonl"],
        ["data/raw/hard.jsonl"],
        ["elsewhere"],
        ["owner/rows@main", "owner/rows"],
    ],
)
def test_a_file_in_two_sources_is_refused(
    two: Project, others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTPLAY_CACHE", str(two.folder / "cache"))
    _hub(two, {"main": questions(50, first=5000)})
    (two.folder / "data/raw/soft.jsonl").symlink_to("a.jsonl")
    (two.folder / "data/raw/hard.jsonl").hardlink_to(two.folder / "data/raw/a.jsonl")
    (two.folder / "elsewhere").symlink_to("data/raw")
    sources = ["data/raw/a.jsonl", *(other.format(folder=two.folder) for other in others)]
    done = _mix(two, f"{{{', '.join(f'{source}: 1' for source in sources)}}}")
    assert done.code == 78, done.said
    assert all(source in done.said for source in sources[-2:]), done.said
    assert "data.mix" in done.said and not list((two.folder / "data").glob("processed/*.jsonl"))


def test_two_revisions_of_a_dataset_are_two_sources(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTPLAY_CACHE", str(project.folder / "cache"))
    _hub(project, {"v1": questions(60), "v2": questions(90, first=MANY)})
    done = _mix(project, "{owner/rows@v1: 1, owner/rows@v2: 1}")
    assert done.code == 0, done.said
    files = [(one["file"], one["rows"]) for one in project.report()["files"]]
    assert files == [("owner/rows@v1/train.jsonl", 60), ("owner/rows@v2/train.jsonl", 90)]


def test_a_mix_and_files_of_an_earlier_command_replace_each_other(two: Project) -> None:
    """A kept `--set data.raw` ends when the config names a mix; other weights are other rows."""

    def stale(*overrides: str) -> str:
        with contextlib.chdir(two.folder):
            return freshness(make_job("config.yaml", None, overrides, {})) or ""

    assert two.run("process", "--set", "data.raw=data/raw/b.jsonl").code == 0
    (two.folder / "config.yaml").write_text(f"data:\n  mix: {BOTH}\n")
    assert "data.mix" in stale()
    assert _mix(two, BOTH).code == 0
    assert not stale()
    assert "data.mix" in stale("data.mix={data/raw/a.jsonl: 1, data/raw/b.jsonl: 1}")
    assert "data.raw" in stale("data.mix=null", "data.raw=data/raw/b.jsonl")
