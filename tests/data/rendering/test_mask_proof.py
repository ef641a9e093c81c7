"""The mask, proved: what is trained is the assistant's text as the template renders it, with its
end of turn, and nothing else.

For SmolLM2's own template and every chat template that the installed TRL ships, random
conversations go through the real steps (render a block, tokenize it) and are compared with three
witnesses that share no code with them: transformers' apply_chat_template, a table of how each
template writes an answer, and the spans that TRL's own training templates mark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay.data.blocks import Block
from sftplay.data.rendering.block import RenderedBlock
from sftplay.data.rendering.cut import Turns, cut_rows
from sftplay.data.rendering.plans import planner_for
from sftplay.data.rendering.probe import TemplateTraits, find_traits
from sftplay.data.rendering.rows import RenderSettings, render_block
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.artifact import IGNORED
from sftplay.data.tokenizing.rows import RowTokenizer
from sftplay.data.tokenizing.tokenizer import TokenizerFacts
from sftplay.errors import DataError
from tests.data.models import CHATML_NAMED, NAMED, byte_tokenizer, smollm2_template, trl_templates

Messages = list[dict[str, str]]
TEMPLATES = trl_templates() | ({"smollm2": own} if (own := smollm2_template()) else {})


def exact(text: str) -> str:
    return text


def without_newlines(text: str) -> str:
    return text.lstrip("\n")


@dataclass(frozen=True)
class Answer:
    """Form of an answer in a template: text before it, changes to it, and its close."""

    before: str
    text: Callable[[str], str]
    close: str
    several: bool = True  # conversations with several answers can be trained on as they are
    # how it writes an answer that is not the last, where that differs
    earlier: Answer | None = None


OPEN_THINK = "<think>\n\n</think>\n\n"
CLOSE_THINK = "\n</think>\n\n"
ANSWERS = {
    "smollm2": Answer("", exact, "<|im_end|>"),
    "cohere": Answer("", str.strip, "<|END_OF_TURN_TOKEN|>"),
    "cohere2": Answer("", exact, "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    "diffusion_gemma": Answer("", str.strip, "<turn|>"),
    "gemma": Answer("", str.strip, "<end_of_turn>"),
    "gemma3": Answer("", str.strip, "<end_of_turn>"),
    **{
        f"gemma4{version}": Answer("", str.strip, "<turn|>")
        for version in ("", "_v2", "_v3", "_v4", "_v5")
    },
    "glm4moe_training": Answer("\n<think></think>\n", str.strip, "<|user|>"),
    "gptoss": Answer("<|channel|>final<|message|>", exact, "<|return|>", several=False),
    **{
        f"lfm2{version}": Answer("", exact, "<|im_end|>")
        for version in ("", "_v2", "_2_5", "_2_5_v2", "_2_5_vl")
    },
    **{f"llama3{version}": Answer("", str.strip, "<|eot_id|>") for version in ("", "_1", "_2")},
    "muse_glimmer": Answer(" to=user<|message|>", exact, "<|eot|>"),
    "phi3": Answer("", exact, "<|end|>"),
    "phi3_5": Answer("", exact, "<|end|>"),
    "qwen2_5": Answer("", exact, "<|im_end|>"),
    "qwen2_5_vl": Answer("", exact, "<|im_end|>"),
    "qwen3": Answer(
        OPEN_THINK, without_newlines, "<|im_end|>", earlier=Answer("", exact, "<|im_end|>")
    ),
    "qwen3_training": Answer(OPEN_THINK, without_newlines, "<|im_end|>"),
    "qwen3_5_nothink": Answer("", str.strip, "<|im_end|>", several=False),
    "qwen3_5_nothink_training": Answer("", str.strip, "<|im_end|>"),
    "qwen3_5_think": Answer(CLOSE_THINK, str.strip, "<|im_end|>", several=False),
    "qwen3_5_think_training": Answer(CLOSE_THINK, str.strip, "<|im_end|>"),
    "qwen3_6": Answer(CLOSE_THINK, str.strip, "<|im_end|>", several=False),
    "qwen3_6_training": Answer(CLOSE_THINK, str.strip, "<|im_end|>"),
    "qwen3_8": Answer(CLOSE_THINK, str.strip, "<|im_end|>"),
    "qwen3_instruct_2507": Answer("", exact, "<|im_end|>"),
    "qwen3_vl": Answer("", exact, "<|im_end|>"),
}
# Refused, and the words that say why.
REASONING = "generation prompt is not how it begins an answer"
IMAGES = "lists of parts"
REFUSED = {
    "deepseek_r1_distill": REASONING,
    "deepseekv3": REASONING,
    "glm4moe": "closes an answer with no special token",
    "idefics3": IMAGES,
    "llava_next": "one plain question and answer",
    **{f"nemotron_3_{size}": REASONING for size in ("5_lightning", "nano", "super", "ultra")},
    "smolvlm": IMAGES,
}
NO_SYSTEM = {"gemma", "gemma_training"}


def entry(table: dict[str, Any], name: str) -> Any:
    """Return a table's entry for a template; a training template is like the one it was made from,
    unless the table says otherwise.
    """
    return table.get(
        name, table.get(name.removesuffix("_training") if name not in ANSWERS | REFUSED else name)
    )


ACCEPTED = sorted(name for name in TEMPLATES if entry(ANSWERS, name))
SEVERAL = [name for name in ACCEPTED if entry(ANSWERS, name).several]


@cache
def specials() -> tuple[str, ...]:
    """Every special token that any of the templates needs to have."""
    closes = [
        token for answer in ANSWERS.values() for token in answer.close.replace("><", "> <").split()
    ]
    others = [
        "<|user|>",
        "<|channel|>",
        "<|message|>",
        "<｜end▁of▁sentence｜>",
        "<end_of_utterance>",
    ]
    return tuple(dict.fromkeys([*NAMED.values(), "<|im_start|>", *closes, *others]))


@cache
def facts() -> TokenizerFacts:
    ids = {token: byte_tokenizer(specials()).token_to_id(token) for token in specials()}
    return TokenizerFacts(Path(), NAMED, ids, ids, None, "")


@cache
def template(name: str) -> ChatTemplate:
    return ChatTemplate(TEMPLATES[name], CHATML_NAMED if name == "smollm2" else NAMED)


@cache
def traits(name: str) -> TemplateTraits:
    return find_traits(template(name), facts(), None)


@cache
def reader(name: str) -> RowTokenizer:
    return RowTokenizer(byte_tokenizer(specials()), traits(name).eot_id, None)


@cache
def transformers_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(specials()), **NAMED)


def by_transformers(name: str, messages: Messages, **options: Any) -> Any:
    """The first witness: transformers' own rendering."""
    return transformers_tokenizer().apply_chat_template(
        messages, chat_template=TEMPLATES[name], tokenize=False, **(template(name).named | options)
    )


def rendered(
    name: str, messages: Messages, turns: Turns = "all", *, keep: bool = False
) -> RenderedBlock:
    """One conversation through the real step."""
    recipe = RenderSettings(
        template=template(name),
        eot=traits(name).eot.value,
        turns=turns,
        specials=specials(),
        spelled="keep" if keep else "error",
        system="render" if traits(name).system_supported else "error",
    )
    return render_block(
        recipe, Block("rows.jsonl", 1, orjson.dumps({"messages": messages, "id": "0" * 16}) + b"\n")
    )


def trained_texts(name: str, done: RenderedBlock) -> list[list[str]]:
    """Tokenize rendered lines and decode what is trained: for each row, the text of each run of
    trained tokens.
    """
    tokenized = reader(name).read(Block("rows.jsonl", 1, done.out))
    assert {finding.kind for finding in tokenized.findings.counts} <= {"joined_borders"}
    batch, rows, end = tokenized.batch, [], 0
    for length in batch.lengths:
        tokens, labels = batch.tokens[end : end + length], batch.labels[end : end + length]
        end += length
        trained = labels != IGNORED
        assert (labels[trained] == tokens[trained]).all()
        borders = np.flatnonzero(np.diff(np.concatenate(([0], trained.astype(int), [0]))))
        rows.append(
            [
                reader(name).backend.decode(tokens[first:last].tolist(), skip_special_tokens=False)
                for first, last in zip(borders[::2], borders[1::2], strict=True)
            ]
        )
    return rows


# Unicode that libraries trip over, white space, markup, pieces of special tokens, and what our own
# stand-ins look like.
PIECES = [
    *(
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "\r\n",
        "\u00a0",
        "\u2028",
        "\x1c",
        "\u200d",
        "\ufeff",
        "\x00",
    ),
    *(
        "<b>",
        "</p>",
        "{{ x }}",
        "{% if %}",
        "%s %d %%",
        "[INST]",
        "### User:",
        "<<48/2=24>>",
        "```",
        "\\n",
        '"',
    ),
    *(
        "<|im_end",
        "im_end|>",
        "<|",
        "|>",
        "</s",
        "<think",
        "\ue0000\ue001",
        "\ue0020\ue003",
        "\ue000",
    ),
    *("e\u0301", "é", "🦊", "👩‍👩‍👧", "नमस्ते", "你好", "שלום", "𝒳", "\U0010ffff"),
]
SPELLED = [
    "<|im_end|>",
    "<|im_start|>",
    "</s>",
    "<end_of_turn>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<|user|>",
    "<turn|>",
]
REWRITTEN = [
    "<think>",
    "</think>",
    "<think>\n\n</think>",
    "<tool_response>",
    "<tool_call>",
    "<|channel>",
    "<channel|>",
]


def texts(*more: str) -> st.SearchStrategy[str]:
    pieces = st.one_of(st.sampled_from([*PIECES, *more]), st.text(max_size=6))
    return st.lists(pieces, min_size=1, max_size=7).map("".join).filter(str.strip)


def conversations(*more: str, turns: int = 4) -> st.SearchStrategy[Messages]:
    """One to `turns` questions with answers, with a system turn or without; blank texts are what
    `process` refuses.
    """
    pairs = st.lists(st.tuples(texts(*more), texts(*more)), min_size=1, max_size=turns)

    def build(system: str | None, pairs: list[tuple[str, str]]) -> Messages:
        opening = [{"role": "system", "content": system}] if system is not None else []
        roles = [
            (role, text)
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        return opening + [{"role": role, "content": text} for role, text in roles]

    return st.builds(build, st.none() | texts(*more), pairs)


def without_system(name: str, messages: Messages) -> Messages:
    return [message for message in messages if message["role"] != "system" or name not in NO_SYSTEM]


def spells_no_special(messages: Messages) -> bool:
    return not any(token in message["content"] for message in messages for token in specials())


def examples(name: str) -> settings:
    """The default model's template gets more of them."""
    count = 150 if name == "smollm2" else 12
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


def test_the_tables_know_every_template() -> None:
    """A template that a new TRL brings has to be looked at, and one that it drops taken out."""
    unknown = [name for name in TEMPLATES if not entry(ANSWERS, name) and not entry(REFUSED, name)]
    assert not unknown
    families = {name.removesuffix("_training") for name in TEMPLATES} | set(TEMPLATES) | {"smollm2"}
    assert not (set(ANSWERS) | set(REFUSED)) - families
    assert len(TEMPLATES) > 60


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_trained_is_the_answer_and_its_end_of_turn(name: str) -> None:
    answer: Answer = entry(ANSWERS, name)

    @examples(name)
    @given(messages=conversations(turns=4 if answer.several else 1).filter(spells_no_special))
    def check(messages: Messages) -> None:
        messages = without_system(name, messages)
        done = rendered(name, messages)
        assert not done.findings.of("fatal"), done.findings
        assert not done.rejected
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        ways = [*[answer.earlier or answer] * (len(answers) - 1), answer]
        expected = [
            way.before + way.text(text) + way.close for way, text in zip(ways, answers, strict=True)
        ]
        assert trained_texts(name, done) == [expected]

    check()


@pytest.mark.parametrize("name", ACCEPTED)
def test_pairs_and_tail_are_the_rendering_of_transformers(name: str) -> None:
    """Whatever the texts spell, and whatever a template makes of it: cut right, or refused."""

    @examples(name)
    @given(
        messages=conversations(*SPELLED, *REWRITTEN),
        turns=st.sampled_from(["all", "last", "unroll"]),
    )
    def check(messages: Messages, turns: Turns) -> None:
        messages = without_system(name, messages)
        done = rendered(name, messages, turns, keep=True)
        answers = [
            index for index, message in enumerate(messages) if message["role"] == "assistant"
        ]
        for number, line in enumerate(done.out.splitlines()):
            row = orjson.loads(line)
            pairs = row.get("turns", [row])
            given_messages = messages[: answers[number] + 1] if turns == "unroll" else messages
            trained = (
                [answers[number]]
                if turns == "unroll"
                else answers[-1:]
                if turns == "last"
                else answers
            )
            whole = by_transformers(name, given_messages)
            assert (
                "".join(pair["input"] + pair["target"] for pair in pairs) + row.get("tail", "")
                == whole
            )
            position = 0
            for index, pair in zip(trained, pairs, strict=True):
                position += len(pair["input"])
                assert whole[:position] == by_transformers(
                    name, messages[:index], add_generation_prompt=True
                )
                position += len(pair["target"])
                assert pair["target"].endswith(traits(name).eot.value)
        targets = [
            [pair["target"] for pair in row.get("turns", [row])]
            for row in map(orjson.loads, done.out.splitlines())
        ]
        assert trained_texts(name, done) == targets
        assert len(targets) == 0 or len(targets) == (len(answers) if turns == "unroll" else 1)

    check()


@pytest.mark.parametrize(
    "name",
    sorted(
        name for name in ACCEPTED if "generation" in TEMPLATES[name] and name.endswith("training")
    ),
)
def test_trl_marks_the_same_texts(name: str) -> None:
    """TRL's training templates mark what they would train.

    They may include the header and white space after the end of turn.
    """

    @examples(name)
    @given(
        messages=conversations(turns=4 if entry(ANSWERS, name).several else 1).filter(
            spells_no_special
        )
    )
    def check(messages: Messages) -> None:
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = without_system(name, messages)
        (whole,), (spans,) = render_jinja_template(
            [messages], chat_template=TEMPLATES[name], return_assistant_tokens_mask=True, **NAMED
        )
        marked = np.zeros(len(whole), bool)
        for first, last in spans:
            marked[first:last] = True
        row = orjson.loads(rendered(name, messages).out)
        end = 0
        for pair in row.get("turns", [row]):
            start, end = end + len(pair["input"]), end + len(pair["input"]) + len(pair["target"])
            assert marked[start:end].all()
            marked[start:end] = False
            header = np.flatnonzero(
                ~marked[:start][::-1]
            )  # what they mark of the header the model is given
            opened = start - int(header[0]) if len(header) else 0
            question = [{"role": "user", "content": "?"}]
            asked = by_transformers(name, question, add_generation_prompt=True)
            prompt = asked[len(by_transformers(name, question)) :]
            assert whole[opened:start] in prompt + "\n"
            marked[opened:start] = False
        left = "".join(np.array(list(whole))[marked])
        assert not left.replace(NAMED["eos_token"], "").strip()

    check()


@pytest.mark.parametrize("name", sorted(name for name in TEMPLATES if entry(REFUSED, name)))
def test_templates_that_cannot_be_cut_are_refused_by_name(name: str) -> None:
    with pytest.raises(DataError) as refused:
        find_traits(template(name), facts(), None)
    assert entry(REFUSED, name) in refused.value.what
    assert "data." in refused.value.todo


@pytest.mark.parametrize("name", sorted(set(ACCEPTED) - set(SEVERAL)))
def test_templates_that_rewrite_earlier_turns_are_refused_with_advice(name: str) -> None:
    messages = [
        {"role": role, "content": f"{role} {n}"} for n in range(2) for role in ("user", "assistant")
    ]
    done = rendered(name, messages)
    (finding,) = done.findings.of("fatal")
    assert "data.turns: last" in finding.todo
    assert "unroll" in finding.todo
    close = entry(ANSWERS, name).close
    for turns in ("last", "unroll"):
        texts = trained_texts(name, rendered(name, messages, turns))
        assert [
            text.endswith(f"assistant {n}{close}")
            for n, (text,) in zip((1,) if turns == "last" else (0, 1), texts, strict=True)
        ]


def test_a_template_that_writes_earlier_answers_differently_is_reported() -> None:
    """Qwen 3 takes the reasoning out of earlier turns: trained as it stands, and said."""
    messages = [
        {"role": role, "content": f"{role} {n}"} for n in range(2) for role in ("user", "assistant")
    ]
    done = rendered("qwen3", messages)
    (note,) = done.findings.of("warning")
    assert done.findings.counts[note] == 1
    assert "unroll" in note.todo
    assert not rendered("qwen3", messages, "unroll").findings.counts


PLANNED = {"smollm2", "qwen2_5", "llama3", "phi3", "phi3_5", "lfm2", "qwen3", "gemma", "cohere"}


@pytest.mark.parametrize("name", ACCEPTED)
def test_plans_cut_as_the_full_rendering_does(name: str) -> None:
    planner = planner_for(template(name), traits(name).eot.value, "all")

    @examples(name)
    @given(messages=conversations(*SPELLED, *REWRITTEN))
    def check(messages: Messages) -> None:
        messages = without_system(name, messages)
        cuts = planner.cuts(messages)
        if cuts is not None:
            assert cuts == list(cut_rows(template(name), traits(name).eot.value, messages, "all"))

    check()
    assert planner.plan(("user", "assistant")) or name not in PLANNED
