"""A model folder's tokenizer: its facts read from the JSON files, its fast backend, or
transformers' object. Never torch.

Importing transformers takes longer than rendering thousands of rows, so the data stages read the
files themselves; only a folder that spreads its tokens over several files in one of the older ways
is loaded through transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sftplay.errors import NotFoundError, StorageError
from sftplay.files import hash_file, hash_json
from sftplay.library_errors import reading
from sftplay.untrusted import AGAIN, MODEL, read_bytes, read_model_json, read_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# The names under which a chat template sees the tokenizer's own tokens.
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class TokenizerFacts:
    """Facts about a tokenizer that rendering needs.

    Attributes:
        folder: where it lies.
        named: `bos_token`, `eos_token` … → text, as the chat template sees them.
        special: text → id of every token that stands for itself in text (control tokens).
        added: text → id of every added token, the special ones included.
        chat_template: the tokenizer's own, None where it has none.
        hash: over tokenizer.json and the named tokens.
    """

    folder: Path
    named: Mapping[str, str]
    special: Mapping[str, int]
    added: Mapping[str, int]
    chat_template: str | None
    hash: str

    def token_id(self, text: str) -> int | None:
        """Return the id of a text that is exactly one token; None where it is none or several."""
        if text in self.added:
            return self.added[text]
        ids = load_backend(self.folder).encode(text, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 else None


def read_tokenizer(folder: Path) -> TokenizerFacts:
    """Read a tokenizer's facts.

    Raises:
        NotFoundError: the folder holds no tokenizer.json (66).
    """
    path = _tokenizer_file(folder)
    with reading(folder, "the tokenizer"):
        return _read_tokenizer(folder, path)


def _read_tokenizer(folder: Path, path: Path) -> TokenizerFacts:
    added = _added_tokens(path)
    config = _optional_json(folder / "tokenizer_config.json")
    named = _named_tokens(folder, config)
    if set(named.values()) <= set(added) and _declared(config) <= set(added):
        special = {
            text: entry["id"]
            for text, entry in added.items()
            if entry["special"] or text in named.values()
        }
        ids = {text: entry["id"] for text, entry in added.items()}
    else:
        named, special, ids = _through_transformers(folder)
    return TokenizerFacts(
        folder=folder,
        named=named,
        special=special,
        added=ids,
        chat_template=_chat_template(folder, config),
        hash=hash_json([hash_file(folder / "tokenizer.json"), dict(named)]),
    )


def load_backend(folder: Path) -> Tokenizer:
    """Return the fast tokenizer without transformers around it: same ids, no truncation, no
    padding.

    Raises:
        NotFoundError: the folder holds no tokenizer.json (66).
    """
    path = _tokenizer_file(folder)
    with reading(folder, "the tokenizer"):
        backend = _read_backend(folder, path)
    backend.no_truncation()
    backend.no_padding()
    return backend


def _read_backend(folder: Path, path: Path) -> Tokenizer:
    config = _optional_json(folder / "tokenizer_config.json")
    if not {*_named_tokens(folder, config).values(), *_declared(config)} <= set(
        _added_tokens(path)
    ):
        return load_tokenizer(folder, None).backend_tokenizer
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def load_tokenizer(folder: Path, chat_template: str | None) -> PreTrainedTokenizerFast:
    """Return transformers' tokenizer of a model folder, without torch.

    Args:
        folder: the model's folder.
        chat_template: Jinja text to use (a run's frozen template); None keeps the tokenizer's own.

    Raises:
        NotFoundError: the folder holds no tokenizer.json (66).
    """
    _tokenizer_file(folder)
    from transformers import PreTrainedTokenizerFast

    with reading(folder, "the tokenizer"):
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True
        )
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def _tokenizer_file(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise NotFoundError(
            "the model has no fast tokenizer (tokenizer.json)",
            where=str(folder),
            todo="take a model that ships tokenizer.json, or convert it once with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    return path


def _optional_json(path: Path) -> Any:
    return read_model_json(path) if path.is_file() else {}


def _added_tokens(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return {
            entry["content"]: entry
            for entry in orjson.loads(read_bytes(path, MODEL, links=True)).get("added_tokens") or []
        }
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise StorageError(
            f"not a tokenizer ({error})",
            where=str(path),
            todo="the file is damaged: fetch the model again",
        ) from error


def _text(token: Any) -> str:
    """Return a token in a config: plain text, or a mapping with `content`."""
    return str(token["content"] if isinstance(token, Mapping) else token)


def _named_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Read them as transformers does: the older special_tokens_map.json counts where the config
    lists no added tokens.
    """
    legacy = (
        {}
        if "added_tokens_decoder" in config
        else _optional_json(folder / "special_tokens_map.json")
    )
    merged = {**config, **legacy}
    return {name: _text(merged[name]) for name in NAMED if merged.get(name) is not None}


def _declared(config: Mapping[str, Any]) -> set[str]:
    """Return tokens that the config adds by itself; transformers would append those that
    are missing in tokenizer.json.
    """
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, Mapping) else extra
    return {
        _text(token) for token in [*extra, *(config.get("added_tokens_decoder") or {}).values()]
    }


def _through_transformers(folder: Path) -> tuple[dict[str, str], dict[str, int], dict[str, int]]:
    tokenizer = load_tokenizer(folder, None)
    ids = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    special = {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special
    }
    vocabulary = tokenizer.get_vocab()
    named = {text: vocabulary[text] for text in tokenizer.special_tokens_map.values()}
    return dict(tokenizer.special_tokens_map), {**special, **named}, {**ids, **named}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return chat_template.jinja, else the config's template; of several named ones the default."""
    if (folder / "chat_template.jinja").is_file():
        return read_template(folder / "chat_template.jinja")
    template = config.get("chat_template")
    if template is None:
        template = _optional_json(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, Mapping)]
        template = next(
            (one.get("template") for one in named if one.get("name") == "default"), None
        )
    if template is not None and not isinstance(template, str):
        raise StorageError(
            "its chat_template is no text", where=str(folder / "tokenizer_config.json"), todo=AGAIN
        )
    return template
