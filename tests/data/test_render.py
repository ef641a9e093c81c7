"""render: what a person finds in data/rendered after good and bad input, by the real command and
inside this process.
"""

from __future__ import annotations

import json
import re
import resource
import signal
from datetime import date
from pathlib import Path

import pytest

from sftplay.data import render
from sftplay.errors import DataError, NotFoundError
from sftplay.freshness import read_stamp
from tests.data.models import CHATML, GEMMA_LIKE, GEMMA_SPECIALS, NAMED, save_model
from tests.data.project import Project, jsonl
from tests.data.stages import edit_config, job, put_rows, row, run, stop_while_writing, with_model

USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def rendered(project: Project) -> list[dict[str, object]]:
    return project.rows("rendered")


# --- by the real command


def test_one_turn_and_several(project: Project) -> None:
    with_model(project)
    put_rows(
        project,
        [
            row("a", "b", row_id="1"),
            row("c", "d", "e", "f", row_id="2"),
            row("g", "h", "i", row_id="3"),
        ],
    )
    done = project.run("render")
    assert done.code == 0, done.said
    assert rendered(project) == [
        {"id": "1", "input": USER.format("a"), "target": "b<|im_end|>", "tail": "\n"},
        {
            "id": "2",
            "turns": [
                {"input": USER.format("c"), "target": "d<|im_end|>"},
                {"input": "\n" + USER.format("e"), "target": "f<|im_end|>"},
            ],
            "tail": "\n",
        },
        {
            "id": "3",
            "input": USER.format("g"),
            "target": "h<|im_end|>",
            "tail": "\n<|im_start|>user\ni<|im_end|>\n",
        },
    ]
    assert "end of turn: '<|im_end|>'" in done.said
    assert "train 3, val 0, test 0 rows, 4 trained turns" in done.said


def test_a_system_turn_that_the_template_refuses(project: Project) -> None:
    with_model(project, GEMMA_LIKE, NAMED, GEMMA_SPECIALS)
    put_rows(project, [row("a", "b", system="Be brief.", row_id="bad")])
    done = project.run("render")
    assert done.code == 65
    assert "can't render a system turn" in done.said
    assert "(bad)" in done.said
    assert "data.system_unsupported: merge_into_user" in done.said
    done = project.run("render", "--set", "data.system_unsupported=merge_into_user")
    assert done.code == 0, done.said
    assert "1 × the system turn was merged" in done.said
    (only,) = rendered(project)
    assert (
        only["input"]
        == "<s><start_of_turn>user\nBe brief.\n\na<end_of_turn>\n<start_of_turn>model\n"
    )
    assert only["target"] == "b<end_of_turn>"


def test_nothing_processed_yet(project: Project) -> None:
    done = project.run("render")
    assert done.code == 66
    assert "inv process" in done.said


def test_disk_full_while_writing_leaves_the_old_rows(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    run(project, "render")
    before = project.outputs("rendered")
    put_rows(project, (row(f"q{n}", "a" * 100) for n in range(2000)))
    done = project.run(
        "render", first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    )
    assert done.code == 74, done.said
    assert project.outputs("rendered") == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_no_half_file(project: Project, stop: signal.Signals) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    run(project, "render")
    before = project.outputs("rendered")
    put_rows(project, (row(f"q{n}", "a" * 300) for n in range(40_000)))
    stop_while_writing(project, "render", "rendered/.tmp-*/train.jsonl", stop)
    assert project.outputs("rendered") == before


# --- inside this process


def test_an_empty_train_split(project: Project) -> None:
    with_model(project)
    put_rows(project, [], split="train")
    with pytest.raises(DataError, match="no rows to train on"):
        run(project, "render")


def test_a_failed_render_leaves_the_last_one_as_it_was(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    run(project, "render")
    before = project.outputs("rendered")
    put_rows(project, [row("c", "d"), row("<|im_end|>", "d")])
    with pytest.raises(DataError):
        run(project, "render")
    assert project.outputs("rendered") == before


def test_the_date_is_frozen(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    with_model(
        project, "<|im_start|>system\nToday is {{ strftime_now('%Y-%m-%d') }}.<|im_end|>\n" + CHATML
    )
    put_rows(project, [row("a", "b")])
    stamp = run(project, "render")
    assert f"Today is {stamp.facts['date']}." in str(rendered(project)[0]["input"])
    assert date.fromisoformat(stamp.facts["date"]) <= date.today()
    assert f"prints today's date: {stamp.facts['date']}" in capfd.readouterr().err
    assert (project.folder / "data/rendered/chat_template.jinja").read_text().count(
        "strftime_now"
    ) == 1


def test_what_a_run_is_stamped_with(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    stamp = run(project, "render")
    assert stamp.facts["eot"] == "<|im_end|>"
    assert isinstance(stamp.facts["eot_id"], int)
    assert re.fullmatch("sha256:[0-9a-f]{64}", stamp.facts["template_hash"])
    assert "date" not in stamp.facts
    assert (project.folder / "data/rendered/chat_template.jinja").read_text() == CHATML


def test_styled_rows_are_taken_unless_told_not_to(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    put_rows(project, [row("a", "b", system="Rhyme.")], kind="processed_with_style")
    assert run(project, "render").facts["from"] == "processed_with_style"
    assert "Rhyme." in str(rendered(project)[0]["input"])
    assert run(project, "render", no_style=True).facts["from"] == "processed"
    assert "Rhyme." not in str(rendered(project)[0]["input"])


def test_the_bytes_do_not_depend_on_the_number_of_workers(project: Project) -> None:
    with_model(project)
    put_rows(
        project,
        (
            row(f"question {n} " + "x" * 400, f"answer {n}", *["more"] * (n % 4))
            for n in range(6000)
        ),
    )
    assert (project.folder / "data/processed/train.jsonl").stat().st_size > 2 * (1 << 20)
    outputs = []
    for workers in (1, 3):
        run(project, "render", f"data.workers={workers}")
        outputs.append(project.outputs("rendered"))
    assert outputs[0] == outputs[1]
    assert len(rendered(project)) == 6000


def test_when_it_has_to_run_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    monkeypatch.chdir(project.folder)
    assert render.freshness(job(project)) == "not made yet"
    run(project, "render", "data.turns=last")
    assert render.freshness(job(project)) is None  # the stamped override is repeated
    assert "data.turns" in str(render.freshness(job(project, "data.turns=all")))
    put_rows(project, [row("edited by hand", "b")])
    assert render.freshness(job(project)) == "its input changed"
    run(project, "render")
    save_model(project.folder / "model", "{# another #}" + CHATML)
    assert "chat template" in str(render.freshness(job(project)))
    run(project, "render")
    save_model(project.folder / "model", "{# another #}" + CHATML, specials=["<|new|>"])
    assert "tokenizer" in str(render.freshness(job(project)))
    run(project, "render")
    put_rows(project, [row("a", "b", system="S")], kind="processed_with_style")
    assert "processed_with_style" in str(render.freshness(job(project)))
    run(project, "render", no_style=True)
    assert render.freshness(job(project)) is None  # --no-style is repeated
    (project.folder / "data/rendered/val.jsonl").unlink()
    assert render.freshness(job(project)) == "val.jsonl is gone"


def test_a_template_of_one_s_own(project: Project) -> None:
    with_model(project, None)
    put_rows(project, [row("a", "b")])
    with pytest.raises(DataError, match="no chat template"):
        run(project, "render")
    (project.folder / "own.jinja").write_text(CHATML)
    edit_config(project, "data: {chat_template: own.jinja}\n")
    run(project, "render")
    assert (project.folder / "data/rendered/chat_template.jinja").read_text() == CHATML
    (project.folder / "own.jinja").unlink()
    with pytest.raises(NotFoundError, match="chat template"):
        run(project, "render")


def test_an_end_of_turn_of_one_s_own(project: Project) -> None:
    with_model(project, CHATML.replace("<|im_end|>", "<|stop|>"))
    put_rows(project, [row("a", "b")])
    with pytest.raises(DataError, match="never learn to stop"):
        run(project, "render")
    save_model(project.folder / "model", CHATML.replace("<|im_end|>", "#"))
    assert run(project, "render", "data.eot='#'").facts["eot"] == "#"


def test_half_made_files_are_not_left_behind(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("<|im_end|>", "b")])
    with pytest.raises(DataError):
        run(project, "render")
    left = [path.name for path in (project.folder / "data/rendered").iterdir()]
    assert left == [".lock"]
    assert read_stamp(Path(project.folder / "data/rendered")) is None


def test_rows_of_another_program_are_fine(project: Project) -> None:
    """Files with spaces in the JSON, CRLF line ends and blank lines, as people write them."""
    with_model(project)
    put_rows(project, [])
    text = (
        json.dumps(row("a", "b"), indent=None)
        + "\r\n\r\n"
        + json.dumps(row("ü\u2028", "d"))
        + "\r\n"
    )
    (project.folder / "data/processed/train.jsonl").write_bytes(text.encode())
    run(project, "render")
    assert [found["target"] for found in rendered(project)] == ["b<|im_end|>", "d<|im_end|>"]
    assert jsonl(rendered(project)).count("\u2028".encode()) == 1
