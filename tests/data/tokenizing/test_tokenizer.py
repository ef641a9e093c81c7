"""A tokenizer's facts, read without transformers, are those that transformers would give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.data.tokenizing.tokenizer import load_backend, load_tokenizer, read_tokenizer
from sftplay.errors import NotFoundError, StorageError
from tests.data.models import CHATML, CHATML_NAMED, NAMED, save_model

TEXTS = ["What is 48 / 2?\n\n", " é🦊 <|im_start|>user\nhi<|im_end|>", "", "<extra>x"]


def same_as_transformers(folder: Path) -> None:
    facts, theirs = read_tokenizer(folder), load_tokenizer(folder, None)
    assert dict(facts.named) == theirs.special_tokens_map
    special = {
        token.content: index
        for index, token in theirs.added_tokens_decoder.items()
        if token.special
    }
    assert dict(facts.special) == special
    assert (
        facts.chat_template == theirs.get_chat_template()
        if theirs.chat_template
        else facts.chat_template is None
    )
    for text in TEXTS:
        ids = load_backend(folder).encode(text, add_special_tokens=False).ids
        assert ids == theirs(text, add_special_tokens=False)["input_ids"]


def test_a_folder_of_today(tmp_path: Path) -> None:
    folder = save_model(tmp_path, specials=["<|pad|>"])
    same_as_transformers(folder)
    assert read_tokenizer(folder).chat_template == CHATML


def test_a_folder_that_transformers_has_saved(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save_model(tmp_path / "made"), None)
    tokenizer.save_pretrained(tmp_path / "saved")
    same_as_transformers(tmp_path / "saved")


def test_tokens_in_the_older_files(tmp_path: Path) -> None:
    """special_tokens_map.json, and a chat template inside the config, one of several."""
    folder = save_model(tmp_path, None, {}, NAMED.values())
    (folder / "special_tokens_map.json").write_text(
        json.dumps({**NAMED, "bos_token": {"content": "<s>"}})
    )
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": CHATML}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    same_as_transformers(folder)
    assert read_tokenizer(folder).named == NAMED


def test_tokens_that_only_the_config_knows(tmp_path: Path) -> None:
    """transformers appends them to the vocabulary; so the ids have to come from it."""
    folder = save_model(tmp_path)
    config = {**CHATML_NAMED, "extra_special_tokens": ["<extra>"], "unk_token": "<new>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    same_as_transformers(folder)
    assert read_tokenizer(folder).special["<extra>"] == load_tokenizer(
        folder, None
    ).convert_tokens_to_ids("<extra>")


def test_a_token_is_one_id_or_none(tmp_path: Path) -> None:
    facts = read_tokenizer(save_model(tmp_path))
    assert facts.token_id("<|im_end|>") == facts.special["<|im_end|>"]
    assert facts.token_id("a") == load_backend(tmp_path).token_to_id("a")
    assert facts.token_id("</turn>") is None


def test_a_tokenizer_that_cuts_by_itself_does_not_cut_here(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = save_model(tmp_path)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    backend.save(str(folder / "tokenizer.json"))
    assert len(load_backend(folder).encode("abcdef", add_special_tokens=False).ids) == 6


def test_the_hash_knows_vocabulary_and_named_tokens(tmp_path: Path) -> None:
    first, second = save_model(tmp_path / "a"), save_model(tmp_path / "b")
    assert read_tokenizer(first).hash == read_tokenizer(second).hash
    save_model(second, specials=["<|more|>"])
    assert read_tokenizer(first).hash != read_tokenizer(second).hash
    save_model(second, named={**CHATML_NAMED, "pad_token": "<|im_start|>"})
    assert read_tokenizer(first).hash != read_tokenizer(second).hash


def test_no_fast_tokenizer(tmp_path: Path) -> None:
    for use in (read_tokenizer, load_backend, lambda folder: load_tokenizer(folder, None)):
        with pytest.raises(NotFoundError, match=r"tokenizer\.json") as missing:
            use(tmp_path)
        assert missing.value.todo


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    save_model(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b'{"added_tokens": [')
    with pytest.raises(StorageError, match="tokenizer"):
        read_tokenizer(tmp_path)


def test_loading_needs_neither_torch_nor_for_facts_transformers(tmp_path: Path) -> None:
    save_model(tmp_path)
    program = (
        "import sys; from pathlib import Path; from sftplay.data.tokenizing.tokenizer import *\n"
        f"folder = Path({str(tmp_path)!r}); read_tokenizer(folder); load_backend(folder)\n"
        "assert 'transformers' not in sys.modules\n"
        "load_tokenizer(folder, None)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
