"""preview: rows as they would be read and trained, by the real command; nothing on disk changes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import ipc, parquet

from tests.data.project import Done, Project, jsonl, questions
from tests.data.stages import with_model

ROWS = questions(40)
TABLE = pa.Table.from_pylist(ROWS)


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every file and folder with its size, times and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat, content = path.lstat(), b""
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        found[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino, content)
    return found


@pytest.fixture
def modeled(project: Project) -> Project:
    with_model(project)
    return project


def preview(project: Project, *args: str) -> Done:
    """Run the command; the project's folder must be the same before and after."""
    before = tree(project.folder)
    done = project.run("preview", *args)
    assert tree(project.folder) == before
    return done


def as_csv(mark: str, rows: list[dict[str, str]] = ROWS) -> bytes:
    lines = [f"question{mark}answer"] + [f"{row['question']}{mark}{row['answer']}" for row in rows]
    return "\n".join(lines).encode()


def as_table(write: Any) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def write_arrow(out: io.BytesIO) -> None:
    with ipc.new_stream(out, TABLE.schema) as writer:
        writer.write_table(TABLE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl(ROWS)),
        ("a.jsonl.gz", gzip.compress(jsonl(ROWS))),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.csv", as_csv(";")),
        ("a.tsv", as_csv("\t")),
        ("a.parquet", as_table(lambda out: parquet.write_table(TABLE, out))),
        ("a.arrow", as_table(write_arrow)),
    ],
)
def test_every_reader(modeled: Project, name: str, content: bytes) -> None:
    modeled.put(name, content)
    done = preview(modeled, "--count", "2")
    assert done.code == 0, done.said
    for row in ROWS[:2]:
        trained = f"[[{row['answer']}<|im_end|>]]"
        assert (
            f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n{trained}"
            in done.said
        )
    assert ROWS[2]["question"] not in done.said
    assert "40 rows, question_answer" in done.said


def test_the_guesses_are_a_config_that_reads_the_same_rows(modeled: Project) -> None:
    modeled.put("train.jsonl", jsonl(ROWS[:30]))
    modeled.put("test.csv", as_csv(";", ROWS[30:]))
    said = preview(modeled).said
    guessed = yaml.safe_load(said[said.index("\ndata:\n") : said.index("\n· nothing was written")])
    assert guessed["data"] == {"raw": "data/raw", "format": "question_answer", "splits": "keep"}
    assert modeled.run("process").code == 0
    wanted = modeled.outputs()
    before = yaml.safe_load((modeled.folder / "config.yaml").read_text())
    before["data"] = guessed["data"]
    (modeled.folder / "config.yaml").write_text(yaml.safe_dump(before))
    assert modeled.run("process").code == 0
    rows = [name for name in wanted if name.endswith(".jsonl")]
    assert {name: modeled.outputs()[name] for name in rows} == {n: wanted[n] for n in rows}


def test_findings_of_every_stage(modeled: Project) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    rows[3]["answer"] = ""
    rows[4]["loss_mask"] = [1, 0]
    rows[5]["answer"] = "spells <|im_end|> in a text"
    rows[6]["answer"] = "long " * 200
    modeled.put("a.jsonl", jsonl([*rows, rows[0]]))
    done = preview(modeled, "--set", "model.max_length=100")
    assert done.code == 0, done.said
    for finding in (
        "process would fail (65): 1 row of 41",
        "empty answer",
        "`loss_mask` is not used",
        "1 exact duplicate removed",
        "render would refuse: 1 × ",
        "longer than model.max_length",
        "TOO SHORT",
    ):
        assert finding in done.said, done.said


@pytest.mark.parametrize("model", ["./model", "nobody/has-this"])
def test_each_source_of_a_mix_is_shown_with_its_name(modeled: Project, model: str) -> None:
    for number in range(30):
        modeled.put(f"many/{number:02}.jsonl", jsonl(questions(40, first=100 * number)))
    modeled.put("few.jsonl", jsonl(questions(2, first=9000)))
    mix = "data.mix={data/raw/many: 3, data/raw/few.jsonl: 1}"
    done = preview(modeled, "--set", mix, "--set", f"model.name={model}", "--count", "3")
    assert done.code == 0, done.said
    shown = re.findall(r"── row (\d) of (\S+), (?:.|\n)*?What is (\d+) ", done.said)
    assert shown == [
        *((str(1 + n), "data/raw/few.jsonl", str(9000 + n)) for n in range(2)),
        *((str(1 + n), "data/raw/many", str(n)) for n in range(3)),
    ]
    assert "11 more files not looked at" in done.said


def test_files_that_process_refuses_are_refused(modeled: Project) -> None:
    modeled.put("a.csv", "Frage,Die Antwort\nq,a\n")
    done = preview(modeled)
    assert done.code == 65
    assert "--set data.fields.user=Frage --set 'data.fields.assistant=Die Antwort'" in done.said


def test_without_the_model_rows_are_shown_as_messages(project: Project) -> None:
    project.put("a.jsonl", jsonl(ROWS))
    done = preview(project, "--set", "model.name=nobody/has-this")
    assert done.code == 0, done.said
    assert f"user: {ROWS[0]['question']}\nassistant: [[{ROWS[0]['answer']}]]" in done.said
    assert "inv fetch" in done.said


def test_the_style_of_the_config(modeled: Project) -> None:
    modeled.put("a.jsonl", jsonl(ROWS))
    assert (
        "Answer in rhyme.<|im_end|>"
        in preview(modeled, "--set", "style.prompt=Answer in rhyme.").said
    )


def test_only_the_first_rows_of_many_are_read(modeled: Project) -> None:
    modeled.put("a.jsonl", jsonl(questions(60_000)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = preview(modeled)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.code == 0, done.said
    assert after.ru_utime - before.ru_utime < 2.0
