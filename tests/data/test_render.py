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
from tests.data.project import Project, jsonl, read_lines
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


def test_special_token_text_inside_a_row(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b"), row("what is <|im_end|>?", "a token", row_id="bad")])
    done = project.run("render")
    assert done.code == 65
    assert "1 × text spells the special token '<|im_end|>'" in done.said
    assert "data/processed/train.jsonl:2 (bad)" in done.said
    assert "data.special_tokens_in_text: keep" in done.said
    assert not (project.folder / "data/rendered/train.jsonl").exists()


def test_rows_that_spell_a_special_token_are_set_aside_where_that_is_asked_for(
    project: Project,
) -> None:
    with_model(project)
    put_rows(project, [row("what is <|im_end|>?", "a token", row_id="bad"), row("a", "b")])
    done = project.run("render", "--set", "data.special_tokens_in_text=drop")
    assert done.code == 0, done.said
    assert "row set aside" in done.said
    assert "data/processed/train.jsonl:1 (bad)" in done.said
    folder = project.folder / "data/rendered"
    (left,) = read_lines(folder / "train.jsonl")
    assert "token" not in left["input"] + left["target"]
    (reject,) = read_lines(folder / "rejects.jsonl")
    assert reject["row"]["id"] == "bad"
    report = json.loads((folder / "report.json").read_bytes())
    assert report["rows"] == {"in": 2, "out": 1, "rejected": 0, "set_aside": 1, "leaked": 0}


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


def test_special_tokens_are_kept_where_that_is_wanted(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "say <|im_end|> now"), row("<|im_start|>", "b")])
    stamp = run(project, "render", "data.special_tokens_in_text=keep")
    assert stamp.facts["notes"] == {"special_tokens_in_text": 2}
    assert rendered(project)[0]["target"] == "say <|im_end|> now<|im_end|>"


def test_a_row_that_the_template_refuses_is_set_aside(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    """Turns that do not alternate: the template's own words, the row in rejects.jsonl, a limit to
    how many.
    """
    with_model(project, GEMMA_LIKE, NAMED, GEMMA_SPECIALS)
    bad = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
        ],
        "id": "bad",
    }
    put_rows(project, [*(row(str(n), "x") for n in range(3)), bad])
    with pytest.raises(DataError, match="1 of 4 rows") as failed:
        run(project, "render")
    assert "Conversation roles must alternate" in failed.value.what
    assert "data.max_reject_share" in failed.value.todo
    path = project.folder / "data/rendered/rejects.jsonl"
    reject = json.loads(path.read_text())
    assert (reject["file"], reject["line"], reject["row"]) == ("data/processed/train.jsonl", 4, bad)
    path.unlink()
    stamp = run(project, "render", "data.max_reject_share=0.25")
    assert stamp.facts["rejected"] == 1
    assert json.loads(path.read_text())["row"] == bad
    assert len(rendered(project)) == 3
    assert "set aside" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"messages": [', "not valid JSON"),
        (b"[]", "not a processed row"),
        (b'{"messages": []}', "id or messages"),
        (b'{"messages": [{"role": "user", "content": ["part"]}], "id": "x"}', "text as content"),
        (b'{"messages": ["hi"], "id": "x"}', "text as content"),
    ],
)
def test_a_line_that_is_no_row_is_named(project: Project, line: bytes, says: str) -> None:
    with_model(project)
    put_rows(project, [row("a", "b")])
    with open(project.folder / "data/processed/train.jsonl", "ab") as out:
        out.write(b"\n" + line + b"\n")
    with pytest.raises(DataError, match=says) as failed:
        run(project, "render")
    assert "data/processed/train.jsonl:3" in failed.value.what


def test_a_row_without_an_answer_is_set_aside(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a"), *(row(str(n), "x") for n in range(200))])
    assert run(project, "render").facts["rejected"] == 1


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


def test_turns(project: Project) -> None:
    with_model(project)
    put_rows(project, [row("a", "b", "c", "d", row_id="x")])
    run(project, "render", "data.turns=last")
    (only,) = rendered(project)
    assert only["target"] == "d<|im_end|>"
    run(project, "render", "data.turns=unroll")
    assert [(found["id"], found["target"]) for found in rendered(project)] == [
        ("x-1", "b<|im_end|>"),
        ("x-2", "d<|im_end|>"),
    ]


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


def test_a_default_system_prompt_is_said_and_stamped(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    with_model(
        project,
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Smol.<|im_end|>\n{% endif %}"
        + CHATML,
    )
    put_rows(project, [row("a", "b"), row("c", "d", system="Mine.")])
    stamp = run(project, "render")
    assert stamp.facts["template_adds"]["default_system"] == "You are Smol."
    assert stamp.facts["rows_without_system"] == 1
    assert (
        "1 × rows have no system prompt, and the chat template adds its own: 'You are Smol.'"
        in capfd.readouterr().err
    )


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
