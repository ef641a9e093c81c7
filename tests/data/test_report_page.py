"""data/processed/report.html: the numbers of all three stages on one page that a stranger's row
can't break.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.data.project import Project, jsonl, questions
from tests.data.stages import with_model


def page(project: Project) -> str:
    return (project.folder / "data/processed/report.html").read_text()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_the_page_grows_with_the_stages(project: Project) -> None:
    with_model(project)
    odd = "<script>alert(1)</script> cafÃ©"
    rows = [
        *questions(80),
        *questions(3),
        {"question": "x", "answer": odd},
        {"question": "no answer", odd: 1},
    ]
    project.put(f"{'<b>'}.jsonl", jsonl(rows))
    made = project.run("process", "--set", "data.max_reject_share=0.1")
    assert made.code == 0 and "the whole report: data/processed/report.html" in made.said
    first = page(project)
    assert "Not done yet" in first and "render and tokenize" in first
    assert "85 read = 81 kept + 1 set aside + 3 exact duplicates" in first
    assert "UTF-8 that was read in another encoding" in first
    assert "<script" not in first and "<b>.jsonl" not in first
    assert project.run("render", "--set", "data.special_tokens_in_text=keep").code == 0
    done = project.run("tokenize", "--set", "model.max_length=51", "--set", "data.on_too_long=drop")
    assert done.code == 0, done.said
    assert "the whole report" not in done.said  # once, by the stage that made the page
    last = page(project)
    assert "Not done yet" not in last
    assert "Tokens a row" in last and "end-of-turn" in last
    assert re.search(r"longer than model.max_length \(51 tokens\)", last)
    tags = Tags()
    tags.feed(last)
    assert not {"script", "link rel=stylesheet", "img", "iframe"} & set(tags.seen)
    assert "://" not in last.replace("http://www.w3.org/2000/svg", "")


def test_reports_of_other_rows_are_left_out(project: Project) -> None:
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(80)))
    for stage in ("process", "render", "tokenize"):
        assert project.run(stage).code == 0
    assert "Tokens a row" in page(project)
    project.put("qa.jsonl", jsonl(questions(90)))
    assert project.run("process").code == 0
    assert "Tokens a row" not in page(project)
    assert project.run("style", "--style", "Rhyme.").code == 0
    assert project.run("render").code == 0
    assert "Chat template" in page(project)


def test_strict_in_every_stage(project: Project) -> None:
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(60)))
    assert project.run("process", "--strict").code == 0
    assert project.run("style", "--style", "Rhyme.", "--strict").code == 0
    assert project.run("render", "--strict").code == 0
    assert project.run("tokenize", "--strict").code == 0
    done = project.run(
        "tokenize", "--strict", "--set", "model.max_length=20", "--set", "data.on_too_long=drop"
    )
    assert done.code == 65
    assert "longer than model.max_length" in done.said
    project.put("qa.jsonl", jsonl(questions(61)))
    done = project.run("style", "--style", "Rhyme.", "--strict")
    assert (done.code, "is not current" in done.said) == (65, True), done.said
