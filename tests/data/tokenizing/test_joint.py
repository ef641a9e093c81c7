"""Trained ids are those that the model sees at inference, for tokenizers of every kind: held
against transformers' own encoding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sftplay.data.blocks import Block
from sftplay.data.rendering.block import RenderedBlock, RenderedLines
from sftplay.data.rendering.cut import cut_rows
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.artifact import IGNORED
from sftplay.data.tokenizing.byte_decode import token_bytes_of
from sftplay.data.tokenizing.joint import JointEncoder, encodes_pieces_alone
from sftplay.data.tokenizing.rows import RowTokenizer, TokenizedBlock
from sftplay.data.tokenizing.word_cache import WordCache, split_rule_of
from tests.data.project import Project
from tests.data.sentencepiece import EOT, KINDS, NAMED, TEMPLATES, save
from tests.data.stages import put_rows, row, run

PIECES = (
    "the",
    " the",
    "theme",
    "\n",
    "\n\n",
    " ",
    "  ",
    "▁",
    "▁▁the",
    "(",
    "[INST",
    "]",
    "]the",
    "😀",
    "👩‍👩‍👧",
    "é",
    "名",
    "<0x0A>",
    "\t",
    ".",
    ")\n",
    "s",
    "/",
    "\f",
    "\u2003",
)
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=6).map("".join)
KNOWN_NOTES = {"joined_borders", "normalized", "blanks_at_tokens"}


@cache
def backend_of(kind: str) -> Any:
    return KINDS[kind]()


@cache
def transformers_of(kind: str, template: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=KINDS[kind](), chat_template=TEMPLATES[template], **NAMED
    )


@cache
def ours(kind: str, template: str) -> RowTokenizer:
    backend = backend_of(kind)
    token_bytes, rule = token_bytes_of(backend), split_rule_of(backend)
    words = WordCache(backend, rule, token_bytes) if rule and token_bytes else None
    joint = None if encodes_pieces_alone(backend) else JointEncoder(backend)
    return RowTokenizer(
        backend,
        backend.token_to_id(EOT[template]),
        backend.token_to_id("<s>"),
        token_bytes,
        words,
        joint,
    )


def conversation(*texts: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]


def tokenized(kind: str, template: str, messages: list[dict[str, str]]) -> TokenizedBlock:
    lines = RenderedLines(RenderedBlock("rows", 0))
    for cut in cut_rows(ChatTemplate(TEMPLATES[template], NAMED), EOT[template], messages, "all"):
        lines.add_cut("one", cut, 1)
    return ours(kind, template).read(Block("rows", 1, lines.done().out))


def check(kind: str, template: str, texts: list[str]) -> bool:
    """Hold a conversation against transformers; tell whether the ids are those of the whole text."""
    messages = conversation(*texts)
    done = tokenized(kind, template, messages)
    found = {finding.kind for finding in done.findings.counts}
    assert found <= KNOWN_NOTES, done.findings.places
    reference = transformers_of(kind, template)
    whole = reference.apply_chat_template(messages, tokenize=True, return_dict=False)
    ids, labels = done.batch.tokens.tolist(), done.batch.labels
    trained = labels != IGNORED
    (starts,) = np.nonzero(np.diff(np.concatenate(([False], trained)).astype(int)) == 1)
    assert len(starts) == len(texts) // 2
    first = reference.apply_chat_template(
        messages[:1], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert ids[: starts[0]] == first  # what the model is given at inference
    if "joined_borders" in found:
        return False
    assert ids == whole[: len(ids)]
    for turn, start in enumerate(starts):
        prompt = messages[: 2 * turn + 1]
        assert ids[:start] == reference.apply_chat_template(
            prompt, tokenize=True, add_generation_prompt=True, return_dict=False
        )
    return True


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(texts=st.lists(TEXT, min_size=2, max_size=4).map(lambda texts: texts[: len(texts) // 2 * 2]))
@example(texts=["the", "the"])
@example(texts=["the", "\nthe"])
@example(texts=["the", " the", "▁", "▁▁the"])
@example(texts=["the\n", "]the", "(", "😀"])
@example(texts=["the", "\f"])
@example(texts=["\u2003the", "\x85"])
def test_ids_are_those_of_transformers(kind: str, template: str, texts: list[str]) -> None:
    check(kind, template, texts)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_plain_texts_are_the_joint_encoding(kind: str, template: str) -> None:
    """The exception is for odd borders only."""
    assert check(kind, template, ["what is the theme?", "the answer", "and then?", "it was 12"])


@pytest.mark.parametrize("kind", KINDS)
def test_which_kinds_encode_their_pieces_alone(kind: str) -> None:
    assert encodes_pieces_alone(backend_of(kind)) == (kind in ("gemma", "gpt2", "qwen"))


def test_an_answer_that_shares_a_token_with_the_prompt(tmp_path: Any) -> None:
    """`]the` is one token here: the prompt stays what it is at inference, and the answer is its
    continuation.
    """
    backend = backend_of("metaspace first")
    done = tokenized("metaspace first", "lines", conversation("the", "\n\nthe"))
    assert backend.decode(done.batch.tokens.tolist(), skip_special_tokens=False).endswith(
        "<|assistant|>\n\n\nthe<|end|>"
    )
    (starts,) = np.nonzero(done.batch.labels != IGNORED)
    answer = backend.decode(done.batch.tokens[starts].tolist(), skip_special_tokens=False)
    assert answer.lstrip(" ") == "\n\nthe<|end|>"


def test_a_text_with_characters_that_are_unknown_is_refused() -> None:
    backend = KINDS["prepend"]()
    state = backend.to_str().replace('"byte_fallback":true', '"byte_fallback":false')
    backend = type(backend).from_str(state)
    reader = RowTokenizer(
        backend, backend.token_to_id("</s>"), None, None, None, JointEncoder(backend)
    )
    line = b'{"id":"one","input":"<s>[INST] the [/INST]","target":" \xf0\x9f\x98\x80</s>"}\n'
    (found,) = reader.read(Block("rows", 1, line)).findings.counts
    assert (found.kind, found.severity) == ("not_reversible", "fatal")


def test_blanks_that_a_tokenizer_swallows_inside_a_text_are_refused() -> None:
    from tokenizers import Regex, normalizers

    backend = KINDS["prepend"]()
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(Regex(r"\s+"), "▁")]
    )
    reader = RowTokenizer(
        backend, backend.token_to_id("</s>"), None, None, None, JointEncoder(backend)
    )
    line = b'{"id":"one","input":"<s>[INST] the [/INST]","target":" the\\n\\nthe</s>"}\n'
    kinds = {finding.kind for finding in reader.read(Block("rows", 1, line)).findings.counts}
    assert kinds <= {"normalized", "not_reversible"} and kinds


@pytest.mark.parametrize("kind", ["prepend", "rstrip", "metaspace first"])
def test_by_the_stages(project: Project, kind: str) -> None:
    """Half of the models that people have: no row is refused any more, and what differs is counted."""
    save(project.folder / "model", kind, "lines")
    (project.folder / "config.yaml").write_text("model: {name: ./model}\n")
    put_rows(
        project,
        [
            row("what is the theme?", "the answer", row_id="one"),
            row("the", "\n\nthe", row_id="two"),
        ],
    )
    run(project, "render")
    stamp = run(project, "tokenize")
    assert stamp.facts["rows"]["train"] == 2
    assert set(stamp.facts["notes"]) <= KNOWN_NOTES
