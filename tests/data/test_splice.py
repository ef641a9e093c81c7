"""Splices: rows put together from escaped texts are byte for byte those that were parsed, rendered and written in full."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay.data import render_rows
from sftplay.data.blocks import Block
from sftplay.data.plans import planner_for
from sftplay.data.render_rows import Recipe, render_block
from sftplay.data.rendered import Rendered
from sftplay.data.splice import Splicer
from sftplay.data.template import ChatTemplate
from tests.data.models import CHATML, CHATML_NAMED, GEMMA_LIKE, NAMED, smollm2_template, trl_templates
from tests.data.project import Project, jsonl, questions, read_lines
from tests.data.stages import facts, put_rows, row, with_model
from tests.data.test_mask_proof import PIECES

SPECIALS = ("<|im_start|>", "<|im_end|>", "<think>")
ASKING = CHATML.replace("message['content'] +", "('' if '</think>' in message['content'] else message['content']) +")
TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "asking": (ASKING, "<|im_end|>"),
    "gemma": (GEMMA_LIKE, "<end_of_turn>"),
    "odd end": (CHATML.replace("<|im_end|>", 'a"a'), 'a"a'),
    "percent": (CHATML.replace("<|im_start|>", '%b "100 %"\t'), "<|im_end|>"),
    **({"smollm2": (own, "<|im_end|>")} if (own := smollm2_template()) else {}),
    **{name: (trl_templates()[name], "<|eot_id|>") for name in ("llama3",) if name in trl_templates()},
    **{name: (trl_templates()[name], "<|im_end|>") for name in ("qwen3", "qwen2_5") if name in trl_templates()},
}
TEXTS = st.one_of(
    st.lists(
        st.sampled_from([*PIECES, "a", 'a"', "</think>", "\\", '\\"', ',"', '"},{"role":"', "\x7f"]), max_size=4
    ).map("".join),
    st.text(max_size=12),
    st.just("plain words"),
)
IDS = st.one_of(st.just("0123456789abcdef"), st.text(max_size=4))
MORE = st.sampled_from([{}, {}, {}, {"train": False}, {"name": "f"}, {"tool_calls": [{"function": {"name": "f"}}]}])


@st.composite
def rows(draw: Any) -> dict[str, Any]:
    """A processed row, mostly of plain turns."""
    count = draw(st.sampled_from([1, 1, 1, 2, 3]))
    messages = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(count):
        messages += [
            {"role": "user", "content": draw(TEXTS)},
            {"role": "assistant", "content": draw(TEXTS), **draw(MORE)},
        ]
    tools = {"tools": [{"function": {"name": "f", "content": '"},{"role":"user","content":"'}}]}
    return {"messages": messages, **draw(st.sampled_from([{}, {}, {}, tools])), "id": draw(IDS)}


@st.composite
def alike(draw: Any) -> list[dict[str, Any]]:
    """Rows of one shape: a block of them is put together at once."""
    roles = draw(st.sampled_from([("user", "assistant"), ("system", "user", "assistant"), ("user", "assistant") * 2]))
    texts = draw(st.lists(st.tuples(*[TEXTS] * len(roles)), min_size=2, max_size=5))
    return [
        {"messages": [{"role": role, "content": text} for role, text in zip(roles, row, strict=True)], "id": draw(IDS)}
        for row in texts
    ]


def both_ways(recipe: Recipe, lines: bytes) -> tuple[Rendered, Rendered]:
    block = Block("rows.jsonl", 1, lines)
    return render_block(replace(recipe, unedited=True), block), render_block(recipe, block)


def recipe_of(name: str, turns: Any = "all") -> Recipe:
    source, eot = TEMPLATES[name]
    template = ChatTemplate(source, NAMED if "bos_token" in source else CHATML_NAMED)
    return Recipe(template, eot, turns, SPECIALS, keep_specials=False, system="render")


@pytest.mark.parametrize("name", ["chatml", "asking", "gemma", "odd end", "percent"])
def test_the_short_way_gives_the_same_rows_counts_and_findings(name: str) -> None:
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(st.lists(rows(), min_size=1, max_size=4), alike()), st.sampled_from(["all", "all", "last", "unroll"])
    )
    def check(some: list[dict[str, Any]], turns: str) -> None:
        lines = b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in some)
        short, full = both_ways(recipe_of(name, turns), lines)
        assert short == full

    check()


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"odd end"}))
def test_plain_rows_take_the_short_way(name: str) -> None:
    recipe = recipe_of(name)
    splicer = Splicer(planner_for(recipe.template, recipe.eot, "all"))
    for texts in (["One?", "Two.\nThree."], ["One “quoted” \\ word", "Zwei"], ["a", "b", "c", "d"]):
        line = orjson.dumps(row(*texts))
        several = len(texts) > 2 and name.startswith("qwen3")  # Qwen 3 writes an earlier answer in another way
        assert (splicer.splice(line) is None) == several, texts


def test_a_block_of_rows_of_one_shape_is_put_together_at_once() -> None:
    recipe = recipe_of("chatml")
    splicer = Splicer(planner_for(recipe.template, recipe.eot, "all"))
    some = [row(f'What is "{n}"?', f"It is\n{n} \\ é.") for n in range(20)]
    made = splicer.splice_all(jsonl(some))
    assert made is not None
    ids, bodies, _ = made
    each = [splicer.splice(line) for line in jsonl(some).splitlines()]
    assert [(row_id, body) for row_id, body, _ in filter(None, each)] == list(zip(ids, bodies, strict=True))
    for other in (row("a", "b", "c", "d"), row("a", "b", system="s"), {**some[0], "tools": [{"a": "b"}]}):
        assert splicer.splice_all(jsonl([*some, other])) is None


def test_rows_that_a_person_edited_are_parsed(project: Project) -> None:
    """What a line of sftplay's own need not be asked: whether it is JSON at all."""
    with_model(project)
    put_rows(project, [row("a", "b")])
    path = project.folder / "data/processed/train.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"\\q"'))
    done = project.run("render")
    assert done.code == 65
    assert "not valid JSON" in done.said


@pytest.mark.parametrize("stage", ["process", "style"])
def test_an_edited_row_is_noticed_in_the_stage_after_and_the_one_after_that(project: Project, stage: str) -> None:
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(40)))
    assert project.run("process").code == 0
    if stage == "process":
        spoil(project, "processed")
    assert project.run("style", "--style", "Rhyme.").code == 0
    assert facts(project, "processed_with_style")["unedited"] is (stage == "style")
    if stage == "style":
        spoil(project, "processed_with_style")
    done = project.run("render")
    assert done.code == 65, done.said
    assert "not valid JSON" in done.said


def spoil(project: Project, kind: str) -> None:
    path = project.folder / "data" / kind / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(b"What", b"\\qhat", 1))


def test_a_splice_that_does_not_hold_is_noticed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with_model(project)
    project.put("qa.jsonl", jsonl(questions(40)))
    assert project.run("process").code == 0
    monkeypatch.setattr(render_rows, "cut_rows", lambda *_, **__: iter(()))
    done = project.run("render")
    assert done.code != 0
    assert "does not hold" in done.said


def test_the_same_rows_with_and_without_a_stamp(project: Project) -> None:
    """Without a stamp every row is parsed; the output is the same."""
    with_model(project)
    project.put("qa.jsonl", jsonl([*questions(300), {"question": "Why “so”?", "answer": 'Because: "x"\\y\tz.'}]))
    assert project.run("process").code == 0
    assert project.run("render").code == 0
    with_stamp = project.outputs("rendered")
    (project.folder / "data/processed/stamp.json").unlink()
    assert project.run("render").code == 0
    assert project.outputs("rendered") == with_stamp
    assert len(read_lines(project.folder / "data/rendered/train.jsonl")) > 200
