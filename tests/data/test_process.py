"""process, by its real command: what a person finds after good and bad input; and in properties
that hold for any input.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay.cli import make_job
from sftplay.data import process
from sftplay.errors import DataError, NotFoundError
from sftplay.freshness import read_stamp
from sftplay.kept_values import refreshed
from tests.data.project import Project, jsonl, questions, read_lines


def counts(project: Project) -> tuple[int, int, int, int]:
    rows = project.report()["rows"]
    return rows["in"], rows["out"], rows["rejected"], rows["duplicates"]


def old_rows(project: Project) -> dict[str, bytes]:
    """Rows of an earlier run, made in this process: what must survive a failure."""
    project.put("old.jsonl", jsonl(questions(40)))
    with contextlib.chdir(project.folder):
        process.run(job())
    return project.outputs()


# --- good input


def test_rows_come_out_as_conversations_in_three_splits(project: Project) -> None:
    project.put("qa.jsonl", jsonl(questions(400)))
    done = subprocess.run(
        project.argv("process"),
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = project.rows()
    assert counts(project) == (400, 400, 0, 0)
    assert {row["messages"][0]["content"] for row in rows} == {
        row["question"] for row in questions(400)
    }
    assert all([turn["role"] for turn in row["messages"]] == ["user", "assistant"] for row in rows)
    assert len({row["id"] for row in rows}) == 400
    assert 5 <= project.report()["splits"]["val"] <= 40  # 5 % of 400, by hash
    assert "400 rows" in done.stderr
    assert "question_answer" in done.stderr
    assert done.stdout == ""


def test_exact_duplicates_are_removed_and_counted(project: Project) -> None:
    project.put("a.jsonl", jsonl(questions(50)))
    project.put("b.jsonl", jsonl([*questions(30), *questions(10, first=500)]))
    done = project.run("process")
    assert counts(project) == (90, 60, 0, 30)
    assert [file["duplicates"] for file in project.report()["files"]] == [0, 30]
    assert "30 exact duplicates removed" in done.said


def test_every_kind_of_file_at_once(project: Project) -> None:
    rows = questions(60)
    csv = "question,answer\r\n" + "".join(
        f'"{row["question"]}",{row["answer"]}\r\n' for row in rows[10:20]
    )
    project.put("a.jsonl", jsonl(rows[:10]))
    project.put("b.csv", b"\xef\xbb\xbf" + csv.encode())
    project.put("c.tsv", csv.replace(",", "\t"))  # the same ten rows
    project.put("d.json", json.dumps(rows[20:30], indent=2))
    project.put(
        "e.json.gz", gzip.compress(json.dumps({"version": 1, "data": rows[30:40]}).encode())
    )
    project.put("f/g.jsonl.zst", zstandard.compress(jsonl(rows[40:50])))
    write_parquet(project.put("h.parquet", b""), rows[50:60])
    project.put("i.json", jsonl(rows[:10]))  # JSON Lines by another name
    project.put("README.md", "what this is")
    done = project.run("process")
    assert done.code == 0, done.said
    assert counts(project) == (80, 60, 0, 20)
    files = {file["file"]: file for file in project.report()["files"]}
    assert [file["kind"] for file in files.values()] == [
        "lines",
        "csv",
        "tsv",
        "json",
        "json",
        "lines",
        "parquet",
        "lines",
    ]
    assert files["data/raw/b.csv"]["encoding"] == "UTF-8 with byte-order mark"
    assert files["data/raw/e.json.gz"]["compression"] == "gzip"
    assert files["data/raw/e.json.gz"]["notes"] == ["rows under `data`; not used: `version`"]
    assert files["data/raw/f/g.jsonl.zst"]["compression"] == "zstd"
    assert project.report()["skipped_files"] == ["data/raw/README.md: not a data file"]
    assert "README.md: not a data file" in done.said


def test_bom_crlf_blank_lines_and_line_separators_are_no_problem(project: Project) -> None:
    rows = [{"question": "one\u2028two\x85three", "answer": "four\u2029"}, *questions(99)]
    text = b"\xef\xbb\xbf" + jsonl(rows).replace(b"\n", b"\r\n") + b"\r\n  \r\n"
    project.put("windows.jsonl", text)
    assert project.run("process").code == 0
    assert counts(project) == (100, 100, 0, 0)
    assert "one\u2028two\x85three" in {row["messages"][0]["content"] for row in project.rows()}


def test_a_field_map_reads_any_columns(project: Project) -> None:
    project.put("odd.csv", "id,Frage,Kontext,Antwort\n1,Wer?,im Haus,Ich\n2,Wo?,,Hier\n")
    fields = ["user=Frage", "assistant=Antwort", "input=Kontext"]
    sets = [word for field in fields for word in ("--set", f"data.fields.{field}")]
    done = project.run("process", *sets, "--set", "data.val_share=0", "--set", "data.test_share=0")
    assert done.code == 0, done.said
    assert [row["messages"][0]["content"] for row in project.rows()] == ["Wer?\n\nim Haus", "Wo?"]
    assert project.report()["files"][0]["dropped_keys"] == {"id": 2}
    assert "not used: `id`" in done.said


def test_one_broken_line_among_a_thousand_is_set_aside(project: Project) -> None:
    lines = jsonl(questions(1000)).split(b"\n")
    lines[616] = b'{"question": "lost", "answer": '
    project.put("qa.jsonl", b"\n".join(lines))
    done = project.run("process")
    assert done.code == 0
    assert counts(project) == (1000, 999, 1, 0)
    (bad,) = project.rejects()
    assert (bad["file"], bad["line"], bad["reason"]) == ("data/raw/qa.jsonl", 617, "not valid JSON")
    assert bad["row"] == '{"question": "lost", "answer": '
    assert bad["column"] == 32
    assert "data/raw/qa.jsonl:617:32" in done.said


def test_output_is_the_same_for_any_number_of_workers(project: Project) -> None:
    rows = [*questions(3000), {"question": "x"}, *questions(10)]
    project.put("a.jsonl", jsonl(rows))
    project.put("b.json", json.dumps(questions(2500, first=2000)))
    seen = []
    for workers in ("1", "2", "3"):
        assert project.run("process", "--set", f"data.workers={workers}").code == 0
        seen.append(project.outputs())
    assert seen[0] == seen[1] == seen[2]


# --- bad input: the code, what is said, and the old output


REFUSED: dict[str, tuple[str, bytes, list[str]]] = {
    "utf-16": (
        "x.jsonl",
        jsonl(questions(3)).decode().encode("utf-16"),
        ["UTF-16", "offset 0", "iconv"],
    ),
    "utf-16 without mark": (
        "x.csv",
        "question,answer\na,b\n".encode("utf-16-le"),
        ["UTF-16LE", "zero bytes"],
    ),
    "latin-1": (
        "x.jsonl",
        jsonl(questions(2)) + b'{"question":"caf\xe9","answer":"b"}\n',
        ["0xe9", "offset 124", ":3"],
    ),
    "cr only": ("x.jsonl", jsonl(questions(3)).replace(b"\n", b"\r"), ["CR alone", "offset 53"]),
    "array in jsonl": ("x.jsonl", json.dumps(questions(3)).encode(), ["JSON array", ".json"]),
    "indented array in jsonl": (
        "x.jsonl",
        json.dumps(questions(3), indent=1).encode(),
        ["JSON array"],
    ),
    "trailing garbage": (
        "x.json",
        json.dumps(questions(3)).encode() + b"\nend",
        ["x.json:2:1", "follows its end"],
    ),
    "document cut off": (
        "x.json",
        json.dumps(questions(3), indent=1).encode()[:-30],
        ["ends in the middle", "x.json:10:2"],
    ),
    "gz cut off": ("x.jsonl.gz", gzip.compress(jsonl(questions(999)))[:-900], ["cut off"]),
    "zst cut off": ("x.jsonl.zst", zstandard.compress(jsonl(questions(999)))[:-900], ["cut off"]),
    "no gz at all": ("x.jsonl.gz", b"\x1f\x8b" + b"no gzip at all", ["damaged"]),
    "csv without the columns": ("x.csv", b"title,text\na,b\n", ["`title`, `text`", "data.fields"]),
    "csv with a lost quote": (
        "x.csv",
        b'question,answer\na,b\n"c,d\ne,f\n',
        ["x.csv:3", "quoting"],
    ),
    "no parquet": ("x.parquet", b"PAR1 and then nothing of the kind", ["parquet"]),
    "text in jsonl": (
        "x.jsonl",
        b"Hello,\nthis is a text.\n",
        ["no row can be read", "x.jsonl:1:1"],
    ),
    "unknown object": ("x.jsonl", b'{"foo": 1, "bar": 2}\n', ["`foo`, `bar`", "data.fields"]),
    "row without answer": (
        "x.jsonl",
        jsonl([*questions(9), {"question": "Why?"}]),
        ["1 row of 10", "no answer", "x.jsonl:10"],
    ),
    "empty answers": ("x.jsonl", jsonl([{"question": "Why?", "answer": " "}]), ["empty answer"]),
    "two users in a row": (
        "x.jsonl",
        jsonl([{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}]),
        ["two user turns in a row", "message 2"],
    ),
    "nothing to train on": ("x.jsonl", jsonl(questions(1)), ["train split", "data.val_share=0"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_files_are_refused_by_name_and_the_old_rows_stay(project: Project, case: str) -> None:
    name, content, said = REFUSED[case]
    before = old_rows(project)
    project.folder.joinpath("data/raw/old.jsonl").unlink()
    project.put(name, content)
    extra = ["--set", "data.val_share=0.9"] if case == "nothing to train on" else []
    done = project.run("process", *extra)
    assert done.code == 65, done.said
    for words in said:
        assert words in done.said
    assert "Traceback" not in done.said
    after = project.outputs()
    if case in ("row without answer", "empty answers", "two users in a row"):
        assert read_lines(project.folder / "data/processed/rejects.jsonl")  # they say why
        before.pop("rejects.jsonl")
        after.pop("rejects.jsonl")
    assert after == before


def test_no_raw_folder(project: Project) -> None:
    (project.folder / "data/raw").rmdir()
    done = project.run("process")
    assert done.code == 66
    assert "data/raw" in done.said
    assert "put your file there" in done.said


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"[]"])
def test_nothing_in_the_raw_folder(project: Project, content: bytes | None) -> None:
    if content is not None:
        project.put("empty.json" if content == b"[]" else "empty.jsonl", content)
    done = project.run("process")
    assert done.code == 65
    assert "no rows in" in done.said or "no data files" in done.said


def test_a_named_file_that_is_not_there(project: Project) -> None:
    assert project.run("process", "--set", "data.raw=data/raw/gone.jsonl").code == 66
    assert project.run("process", "--set", "data.raw=data/raw/*.jsonl").code == 66


def test_a_hub_dataset_that_was_not_fetched_names_the_command(project: Project) -> None:
    done = project.run("process", "--set", "data.raw=openai/gsm8k", first=lambda: _cache(project))
    assert done.code == 66
    assert "openai/gsm8k" in done.said
    assert "inv fetch" in done.said


def test_a_fetched_hub_dataset_is_read_from_the_cache(project: Project) -> None:
    folder = project.folder / "cache/hub/snapshot"
    (folder / "main").mkdir(parents=True)
    write_parquet(folder / "main/train.parquet", questions(40))
    (folder / "main/more.jsonl").write_bytes(jsonl(questions(10, first=40)))
    (folder / "main/other.jsonl").write_text("an earlier fetch of other files\n")
    record = project.folder / "cache/datasets/openai--gsm8k@main.json"
    record.parent.mkdir()
    files = ["main/more.jsonl", "main/train.parquet"]
    record.write_text(json.dumps({"folder": "hub/snapshot", "revision": "abc", "files": files}))
    done = project.run("process", "--set", "data.raw=openai/gsm8k", first=lambda: _cache(project))
    assert done.code == 0, done.said
    assert project.report()["rows"]["out"] == 50
    assert [file["file"] for file in project.report()["files"]] == [
        f"openai/gsm8k/{name}" for name in files
    ]
    (folder / "main/more.jsonl").unlink()
    done = project.run("process", "--set", "data.raw=openai/gsm8k", first=lambda: _cache(project))
    assert done.code == 66
    assert "is not whole" in done.said


def test_rows_of_another_source_do_not_pass_for_those_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = project.put("qa.jsonl", jsonl(questions(40)))
    assert project.run("process").code == 0
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("SFTPLAY_CACHE", str(project.folder / "cache"))
    raw.unlink()
    assert (
        process.freshness(make_job("config.yaml", None, [], {})) is None
    )  # nothing to make them from again
    with pytest.raises(NotFoundError, match="owner/rows"):
        process.freshness(make_job("config.yaml", None, ["data.raw=owner/rows"], {}))


def _cache(project: Project) -> None:
    """For a forked command."""
    os.environ["SFTPLAY_CACHE"] = str(project.folder / "cache")


@pytest.mark.parametrize("setting", ["keep", "strip"])
def test_reasoning_is_counted_and_taken_out_only_when_asked(project: Project, setting: str) -> None:
    thoughts = [{"question": f"Q{n}", "answer": f"<think>hm {n}</think>\n\nA{n}"} for n in range(6)]
    project.put("qa.jsonl", jsonl([*questions(40), *thoughts]))
    done = project.run("process", "--set", f"data.reasoning={setting}")
    assert done.code == 0, done.said
    assert "reasoning (<think>) in 6 rows" in done.said
    assert project.report()["reasoning"] == {"rows": 6, "setting": setting}
    answers = {row["messages"][1]["content"] for row in project.rows()}
    assert (
        {row["answer"] for row in thoughts} <= answers
        if setting == "keep"
        else {"A1", "A5"} <= answers
    )
    assert len(answers) == 46
    assert any("think" in answer for answer in answers) is (setting == "keep")


def test_an_empty_val_split_is_said(project: Project) -> None:
    project.put("qa.jsonl", jsonl(questions(40)))
    done = project.run("process", "--set", "data.val_share=0.0001")
    assert done.code == 0
    assert "the val split is empty" in done.said
    assert "the test split is empty" not in done.said


def test_a_parquet_file_with_a_missing_column(project: Project) -> None:
    write_parquet(project.put("a.parquet", b""), [{"question": "Why?", "source": "x"}])
    done = project.run("process")
    assert done.code == 65
    assert "`question`, `source`" in done.said


def test_mixed_formats_in_one_file_are_told_apart(project: Project) -> None:
    alpaca = [{"instruction": f"Say {n}", "output": str(n)} for n in range(40)]
    project.put("mixed.jsonl", jsonl([*questions(60), *alpaca]))
    done = project.run("process")
    assert done.code == 65
    assert "40 rows of 100" in done.said
    reasons = {bad["reason"] for bad in project.rejects()}
    assert reasons == {"no user text"}
    done = project.run("process", "--set", "data.max_reject_share=0.5")
    assert done.code == 0
    assert "40 look like alpaca" in done.said


def test_disk_full_while_writing_leaves_the_old_rows(project: Project) -> None:
    before = old_rows(project)
    project.put("qa.jsonl", jsonl(questions(4000)))
    done = project.run(
        "process", first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    )
    assert done.code == 74, done.said
    assert project.outputs() == before


def test_a_really_full_disk(project: Project) -> None:
    disk = project.folder / "data/processed"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no permission to mount a small disk: {mounted.stderr.decode().strip()[:80]}")
    try:
        before = old_rows(project)
        project.put("qa.jsonl", jsonl(questions(4000)))
        done = project.run("process")
        assert done.code == 74, done.said
        assert "disk is full" in done.said
        assert "free some space" in done.said
        assert project.outputs() == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_no_half_file(project: Project, workers: str, stop: signal.Signals) -> None:
    before = old_rows(project)
    project.put(
        "qa.jsonl",
        b"".join(b'{"question":"%d","answer":"%b"}\n' % (n, b"a" * 300) for n in range(100_000)),
    )
    argv = project.argv("process", "--set", f"data.workers={workers}")
    running = subprocess.Popen(
        argv,
        cwd=project.folder,
        env=project.environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    folder = project.folder / "data/processed"
    wait_for(lambda: any(path.stat().st_size for path in folder.glob(".tmp-*/train.jsonl")))
    os.killpg(running.pid, stop)  # as a terminal does: every process of the group gets it
    said = running.communicate(timeout=30)[1].decode()
    assert running.returncode == 128 + stop
    assert said.count("stopped by") == 1
    assert "Traceback" not in said
    assert project.outputs() == before


@pytest.mark.long  # writes and reads 130 MB in four forms
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(project: Project, kind: str) -> None:
    rows = [{"question": str(n), "answer": f"{n} is a number. " * 40} for n in range(200_000)]
    if kind == "parquet":
        write_parquet(project.put("x.parquet", b""), rows, group=20_000)
    elif kind == "csv":
        project.put(
            "x.csv",
            "question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in rows),
        )
    else:
        project.put(f"x.{kind}", jsonl(rows) if kind == "jsonl" else json.dumps(rows, indent=1))
    running = subprocess.Popen(
        project.argv("process"), cwd=project.folder, env=project.environment()
    )
    peak = 0
    while running.poll() is None:
        peak = max(peak, *map(peak_memory, family(running.pid)))
        time.sleep(0.02)
    assert running.returncode == 0
    assert counts(project) == (200_000, 200_000, 0, 0)
    assert 30 < peak < 300  # MB


# --- stamps


def test_a_refresh_keeps_what_was_asked_for_and_notices_what_changed(project: Project) -> None:
    raw = project.put("qa.jsonl", jsonl(questions(200)))
    with contextlib.chdir(project.folder):
        assert process.freshness(job()) == "not made yet"
        process.run(job("data.val_share=0.3", "train.epochs=2"))
        stamp = read_stamp(Path("data/processed"))
        assert stamp is not None
        assert stamp.overrides == ("data.val_share=0.3",)
        assert process.freshness(job()) is None  # the stamped override still counts
        assert process.freshness(job("data.val_share=0.4")) == (
            "settings changed: data.val_share 0.3 → 0.4"
        )
        os.utime(raw)
        assert process.freshness(job()) is None  # the same content at another time
        raw.write_bytes(jsonl(questions(201)))
        assert process.freshness(job()) == "its input changed"
        process.run(refreshed(job(), "process", stamp))
        assert project.report()["splits"]["val"] > 40
        (project.folder / "data/processed/val.jsonl").unlink()
        assert process.freshness(job()) == "val.jsonl is gone"
        raw.unlink()
        assert process.freshness(job()) is None  # nothing to make it from again


# --- properties


def job(*overrides: str) -> Any:
    return make_job("config.yaml", None, overrides, {})


def processed(content: bytes, *overrides: str, name: str = "rows.jsonl") -> dict[str, Any]:
    """Process one raw file in a folder of its own: {split: rows}, rejects and report."""
    memory = (
        "/dev/shm" if Path("/dev/shm").is_dir() else None
    )  # hundreds of small files, each fsynced
    with tempfile.TemporaryDirectory(dir=memory) as folder, contextlib.chdir(folder):
        project = Project(Path(folder))
        project.put(name, content)
        Path("config.yaml").write_text("data: {max_reject_share: 1}\n")
        process.run(job(*overrides))
        out: dict[str, Any] = {
            split: read_lines(Path("data/processed") / f"{split}.jsonl")
            for split in ("train", "val", "test")
        }
        return {
            **out,
            "rejects": project.rejects(),
            "report": project.report(),
            "bytes": project.outputs(),
        }


def line_of(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
good = st.fixed_dictionaries(
    {"question": texts, "answer": texts}, optional={"system": texts, "more": st.integers()}
)
bad = st.one_of(
    st.just({"question": "no answer"}),
    st.just(["a", "list"]),
    st.integers(),
    st.none(),
    st.just({"question": 1, "answer": 2}),
)
broken = st.sampled_from(
    [
        b'{"question": ',
        b'{"question": "a", "question": "b", "answer": "c"}',
        b"nonsense",
        b"  ",
        b"",
    ]
)
raw_lines = st.lists(st.one_of(good.map(line_of), bad.map(line_of), broken), max_size=30)
quiet = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
CERTAIN = [line_of(row) for row in questions(30)]  # enough that the train split is not empty


@quiet
@given(raw_lines)
def test_rows_in_are_rows_out_and_rejects_and_duplicates(lines: list[bytes]) -> None:
    lines = [*CERTAIN, *lines]
    done = processed(b"\n".join(lines))
    rows = done["report"]["rows"]
    kept = [row for split in ("train", "val", "test") for row in done[split]]
    assert rows["in"] == sum(1 for line in lines if line.strip())
    assert rows["in"] == rows["out"] + rows["rejected"] + rows["duplicates"]
    assert (len(kept), len(done["rejects"])) == (rows["out"], rows["rejected"])
    assert len({row["id"] for row in kept}) == len(kept)
    assert all(lines[entry["line"] - 1].strip() for entry in done["rejects"])


WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "runs",
    "back",
    "to",
    "its",
    "den",
    "before",
    "the",
    "night",
    "falls",
    "again",
]
alike = st.builds(  # rows that share nearly all of their words, or all
    lambda gone, name: {
        "question": f"{name}, what does it say?",
        "answer": " ".join(WORDS[:gone] + WORDS[gone + 1 :] * 2),
    },
    st.sampled_from([3, 4, len(WORDS)]),
    st.sampled_from(["Ann", "Bob"]),
)


@settings(quiet, max_examples=12)
@given(
    st.lists(
        st.one_of(alike.map(line_of), good.map(line_of), bad.map(line_of), broken), max_size=25
    )
)
def test_with_near_duplicates_left_out_the_numbers_still_add_up(lines: list[bytes]) -> None:
    lines = [*CERTAIN, line_of(questions(1)[0]), *lines]
    done = processed(b"\n".join(lines), "data.near_duplicates=drop")
    rows = done["report"]["rows"]
    kept = [row for split in ("train", "val", "test") for row in done[split]]
    assert rows["in"] == sum(1 for line in lines if line.strip())
    assert (
        rows["in"] == rows["out"] + rows["rejected"] + rows["duplicates"] + rows["near_duplicates"]
    )
    assert (len(kept), len(done["rejects"])) == (rows["out"], rows["rejected"])
    assert done["report"]["near_duplicates"]["found"] == rows["near_duplicates"]
    asked = sum(count for *_, count in done["report"]["character_counts"]["input"])
    assert asked == rows["out"]


@quiet
@given(st.lists(good, max_size=30, unique_by=str), st.randoms(use_true_random=False))
def test_a_row_stays_in_its_split_when_the_file_grows_or_is_shuffled(
    rows: list[Any], chance: random.Random
) -> None:
    def split_of_each(lines: list[bytes]) -> dict[str, str]:
        done = processed(b"\n".join(lines), "data.val_share=0.3", "data.test_share=0.2")
        return {row["id"]: split for split in ("train", "val", "test") for row in done[split]}

    lines = [*CERTAIN, *map(line_of, rows)]
    whole = split_of_each(lines)
    half = split_of_each(CERTAIN + lines[len(CERTAIN) : len(CERTAIN) + len(rows) // 2])
    chance.shuffle(lines)
    assert half.items() <= whole.items()
    assert split_of_each(lines) == whole


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(raw_lines, st.integers(2, 4))
def test_any_number_of_workers_gives_the_same_bytes(lines: list[bytes], workers: int) -> None:
    content = b"\n".join([*CERTAIN, *lines])
    assert processed(content)["bytes"] == processed(content, f"data.workers={workers}")["bytes"]


@quiet
@given(st.lists(good, max_size=20))
def test_a_document_gives_the_rows_that_lines_give(rows: list[Any]) -> None:
    rows = [*map(orjson.loads, CERTAIN), *rows]
    lines, document = (
        processed(jsonl(rows)),
        processed(json.dumps(rows, indent=1).encode(), name="rows.json"),
    )
    assert all(lines[split] == document[split] for split in ("train", "val", "test"))


def test_too_many_bad_rows_name_the_share_that_would_do(project: Project) -> None:
    project.put("qa.jsonl", jsonl([*questions(90), *[{"question": f"q{n}"} for n in range(10)]]))
    with contextlib.chdir(project.folder), pytest.raises(DataError) as caught:
        process.run(job())
    assert "data.max_reject_share=0.11" in caught.value.todo
    with contextlib.chdir(project.folder):
        process.run(job("data.max_reject_share=0.11"))
    assert counts(project) == (100, 90, 10, 0)


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 4) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        children = []
    return [pid, *map(int, children)]


def peak_memory(pid: int) -> int:
    """Most memory that a process has held so far, in MB; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(
        (int(line.split()[1]) // 1000 for line in status.splitlines() if line.startswith("VmHWM:")),
        0,
    )


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_table_of_ten_thousand_columns_takes_no_time_for_each_pair_of_them(
    project: Project,
) -> None:
    names = [f"c{number}" for number in range(9998)]
    lines = [",".join(["user", "assistant", *names])]
    lines += [",".join([f"q{row}", f"a{row}", *names]) for row in range(40)]
    project.put("a.csv", "\n".join(lines))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = project.run("process")
    assert done.code == 0, done.said
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2.0
    (file,) = project.report()["files"]
    assert sum(file["dropped_keys"].values()) == 40 * 9998
