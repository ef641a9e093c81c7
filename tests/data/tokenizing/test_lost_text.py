"""Texts that a tokenizer does not return are reported."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from sftplay.data.tokenizing.tokenizer import load_backend
from sftplay.errors import DataError
from tests.data.models import CHATML_NAMED
from tests.data.project import Project
from tests.data.stages import row, run
from tests.data.tokenized import decoded, prepared, split


def replace_tokenizer(project: Project, backend: Tokenizer) -> None:
    """Another tokenizer.json under the same rendered rows."""
    backend.decoder = backend.decoder or decoders.Fuse()
    backend.add_special_tokens(list(dict.fromkeys(CHATML_NAMED.values())))
    backend.save(str(project.folder / "model/tokenizer.json"))
    run(project, "render")


def test_texts_that_the_tokenizer_does_not_give_back(project: Project) -> None:
    prepared(project, row("a", "fine"), row("b", "snow ☃", row_id="bad"))
    known = {
        text: number for number, text in enumerate(["<unk>", *"abcdefghijklmnopqrstuvwxyz \n"])
    }
    backend = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    replace_tokenizer(project, backend)
    with pytest.raises(DataError, match="does not give a text back") as failed:
        run(project, "tokenize")
    assert "(bad)" in failed.value.what
    assert "'☃" in failed.value.what


def test_characters_that_the_tokenizer_normalizes_are_reported(project: Project) -> None:
    prepared(project, row("a", "cafe\u0301", row_id="accent"), row("b", "plain"))
    backend = load_backend(project.folder / "model")
    backend.normalizer = normalizers.NFC()
    replace_tokenizer(project, backend)
    stamp = run(project, "tokenize")
    assert stamp.facts["notes"] == {"normalized": 1}
    assert decoded(project, split(project)[0]["input_ids"]).endswith("café<|im_end|>")
