"""tokenize: ids and labels that both backends train on, too long rows by each policy, and what does
not survive a tokenizer.
"""

from __future__ import annotations

import resource
import signal
from typing import Any

import numpy as np
import orjson
import pytest

from sftplay.data import tokenize
from sftplay.data.tokenizing.artifact import IGNORED, read_split, values_hash
from sftplay.data.tokenizing.tokenizer import load_backend
from sftplay.errors import DataError, NotFoundError, RefusedError
from tests.data.models import CHATML, save_model
from tests.data.project import Project
from tests.data.stages import job, put_rows, row, run, stop_while_writing, with_model
from tests.data.tokenized import decoded, prepared, split

# --- by the real command


def test_every_row_too_long(project: Project) -> None:
    prepared(project, *(row(f"question {n}", "a" * (100 + n), row_id=f"row{n}") for n in range(8)))
    done = project.run("tokenize", "--set", "model.max_length=64")
    assert done.code == 65
    assert "8 of 8 rows are longer than model.max_length (64 tokens): row0 (" in done.said
    assert "row4 (" in done.said
    assert "row5" not in done.said
    assert "p50 " in done.said
    assert "--set model.max_length=192" in done.said
    assert not (project.folder / "data/tokenized/train.arrow").exists()
    done = project.run("tokenize", "--set", "model.max_length=64", "--set", "data.on_too_long=drop")
    assert done.code == 65
    assert "nothing to train on" in done.said


def test_a_conversation(project: Project) -> None:
    prepared(project, row("hello", "hi\n\n", "\n\nand?", "bye", row_id="x"))
    done = project.run("tokenize")
    assert done.code == 0, done.said
    (only,) = split(project)
    assert only["id"] == "x"
    (line,) = project.rows("rendered")
    assert decoded(project, only["input_ids"]) == "".join(
        t["input"] + t["target"] for t in line["turns"]
    )  # type: ignore[union-attr]
    trained = [
        token
        for token, label in zip(only["input_ids"], only["labels"], strict=True)
        if label != IGNORED
    ]
    assert trained == [label for label in only["labels"] if label != IGNORED]
    assert decoded(project, trained) == "hi\n\n<|im_end|>bye<|im_end|>"
    assert "train 1, val 0, test 0 rows" in done.said


def test_disk_full_while_writing_leaves_the_old_rows(project: Project) -> None:
    prepared(project, row("a", "b"))
    run(project, "tokenize")
    before = project.outputs("tokenized")
    prepared(project, *(row(f"q{n}", "a" * 100) for n in range(1000)))
    done = project.run(
        "tokenize", first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    )
    assert done.code == 74, done.said
    assert project.outputs("tokenized") == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_no_half_file(project: Project, stop: signal.Signals) -> None:
    prepared(project, row("a", "b"))
    run(project, "tokenize")
    before = project.outputs("tokenized")
    prepared(project, *(row(f"q{n}", "a" * 300) for n in range(6_000)))
    stop_while_writing(project, "tokenize", "tokenized/.tmp-*/train.arrow", stop)
    assert project.outputs("tokenized") == before


# --- inside this process


def test_what_training_is_told(project: Project) -> None:
    rows = [row("a", "b" * n, row_id=f"r{n}") for n in range(1, 11)]
    with_model(project)
    put_rows(project, rows)
    put_rows(project, [row("v", "w")], split="val")
    rendered = run(project, "render")
    stamp = run(project, "tokenize")
    assert stamp.facts["rows"] == {"train": 10, "val": 1, "test": 0}
    assert stamp.facts["trained_tokens"] == {"train": sum(range(1, 11)) + 10, "val": 2, "test": 0}
    assert stamp.facts["tokens"]["train"] == sum(
        len(found["input_ids"]) for found in split(project)
    )
    assert stamp.facts["max_tokens"] == max(len(found["input_ids"]) for found in split(project))
    assert (stamp.facts["too_long"], stamp.facts["dropped"], stamp.facts["truncated"]) == (0, 0, 0)
    for key in ("template_hash", "tokenizer_hash", "eot", "eot_id"):
        assert stamp.facts[key] == rendered.facts[key]
    for name, value in stamp.facts["values_hash"].items():
        assert values_hash(project.folder / f"data/tokenized/{name}.arrow") == value
    assert len(set(stamp.facts["values_hash"].values())) == 3


def test_the_values_do_not_depend_on_workers_or_blocks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(project, *(row(f"q{n}", "é🦊" * (n % 50 + 1), *["m"] * (n % 4)) for n in range(300)))
    hashes = [
        run(project, "tokenize", f"data.workers={n}").facts["values_hash"]["train"] for n in (1, 4)
    ]
    monkeypatch.setattr("sftplay.data.blocks.BLOCK", 2000)
    run(project, "tokenize", "model.max_length=2000")
    hashes.append(values_hash(project.folder / "data/tokenized/train.arrow"))
    assert len(set(hashes)) == 1
    assert len(read_split(project.folder / "data/tokenized/train.arrow").to_batches()) > 10


def test_the_same_ids_as_transformers_makes(project: Project) -> None:
    from sftplay.data.tokenizing.tokenizer import load_tokenizer

    prepared(project, row("Grüße 🦊", "x\n y"))
    run(project, "tokenize")
    tokenizer = load_tokenizer(project.folder / "model", None)
    (line,), (only,) = project.rows("rendered"), split(project)
    pieces = [
        tokenizer(str(line[key]), add_special_tokens=False)["input_ids"]
        for key in ("input", "target")
    ]
    assert only["input_ids"] == pieces[0] + pieces[1]


def test_dropped_rows_are_counted(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    prepared(project, row("a", "b", row_id="short"), row("a", "b" * 100, row_id="long"))
    stamp = run(project, "tokenize", "model.max_length=64", "data.on_too_long=drop")
    assert [found["id"] for found in split(project)] == ["short"]
    assert (stamp.facts["too_long"], stamp.facts["dropped"], stamp.facts["truncated"]) == (1, 1, 0)
    said = capfd.readouterr().err
    assert "1 of 2 rows are longer" in said
    assert "long (" in said
    assert "1 dropped, 0 cut" in said


def test_cut_rows_are_counted_and_those_with_nothing_left_to_train_dropped(
    project: Project,
) -> None:
    prepared(
        project,
        row("a", "b" * 100, row_id="cut"),
        row("a" * 100, "b", row_id="gone"),
        row("a", "b", row_id="fits"),
    )
    stamp = run(project, "tokenize", "model.max_length=64", "data.on_too_long=truncate")
    found = {each["id"]: each for each in split(project)}
    assert sorted(found) == ["cut", "fits"]
    assert len(found["cut"]["input_ids"]) == 64
    assert set(found["cut"]["labels"][-3:]) == {
        load_backend(project.folder / "model").token_to_id("b")
    }
    assert (stamp.facts["too_long"], stamp.facts["dropped"], stamp.facts["truncated"]) == (2, 1, 1)


def test_no_advice_that_the_model_cannot_follow(project: Project) -> None:
    prepared(project, row("a", "b" * 4000))
    with pytest.raises(DataError) as failed:  # the model reads 2048 tokens
        run(project, "tokenize", "model.max_length=64")
    assert "--set model.max_length" not in failed.value.todo
    assert "drop" in failed.value.todo


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"id": "x", "input": "a", "target": "b"}, "does not end with the end-of-turn"),
        ({"id": "x", "input": "a", "target": ""}, "does not end with the end-of-turn"),
        ({"id": "x", "input": "a"}, "not a rendered row"),
        ({"id": "x", "turns": []}, "not a rendered row"),
        ({"id": 1, "input": "a", "target": "b<|im_end|>"}, "not a rendered row"),
        ([], "not a rendered row"),
    ],
)
def test_rendered_rows_edited_badly(project: Project, line: Any, says: str) -> None:
    prepared(project, row("a", "b"))
    with open(project.folder / "data/rendered/train.jsonl", "ab") as out:
        out.write(orjson.dumps(line) + b"\n")
    with pytest.raises(DataError, match=says) as failed:
        run(project, "tokenize")
    assert "data/rendered/train.jsonl:2" in failed.value.what


def test_rows_rendered_for_another_model(project: Project) -> None:
    prepared(project, row("a", "b"))
    save_model(project.folder / "model", specials=["<|new|>"])
    with pytest.raises(RefusedError, match="another tokenizer") as refused:
        run(project, "tokenize")
    assert "inv render" in refused.value.todo


def test_nothing_rendered_yet(project: Project) -> None:
    with_model(project)
    with pytest.raises(NotFoundError) as missing:
        run(project, "tokenize")
    assert "inv render" in missing.value.todo


def test_when_it_has_to_run_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(project, row("a", "b"))
    monkeypatch.chdir(project.folder)
    assert tokenize.freshness(job(project)) == "not made yet"
    run(project, "tokenize", "model.max_length=512")
    assert tokenize.freshness(job(project)) is None
    assert "model.max_length" in str(tokenize.freshness(job(project, "model.max_length=256")))
    run(project, "render", "data.turns=last")  # the same rows
    assert tokenize.freshness(job(project)) is None
    put_rows(project, [row("c", "d")])
    run(project, "render")
    assert tokenize.freshness(job(project)) == "its input changed"
    run(project, "tokenize")
    save_model(project.folder / "model", "{# other words, same rows #}" + CHATML)
    run(project, "render")
    assert (
        tokenize.freshness(job(project)) == "its input changed"
    )  # runs are stamped with the template's hash


def test_datasets_reads_it_as_it_is(project: Project) -> None:
    """The trainer's library maps the file into memory; empty splits too."""
    datasets = pytest.importorskip("datasets")
    prepared(project, *(row(f"q{n}", "a") for n in range(20)))
    run(project, "tokenize")
    found = datasets.Dataset.from_file(str(project.folder / "data/tokenized/train.arrow"))
    assert len(found) == 20
    assert found[3]["labels"] == split(project)[3]["labels"]
    assert set(found.column_names) == {"id", "input_ids", "labels"}
    assert len(datasets.Dataset.from_file(str(project.folder / "data/tokenized/val.arrow"))) == 0
    assert np.asarray(split(project)[0]["labels"]).dtype.kind == "i"
