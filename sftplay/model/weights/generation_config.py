"""Token ids that end and fill answers, and generation configs that can't be saved."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.library_errors import reading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def end_ids(model: Any, trained: Iterable[int] = ()) -> list[int]:
    """Every token that ends an answer of this model: `trained`, then those that its own
    configuration names, each once.
    """
    config = getattr(model, "generation_config", None)
    found = getattr(config, "eos_token_id", None)
    if found is None:
        found = getattr(model.config.get_text_config(decoder=True), "eos_token_id", None)
    named = found if isinstance(found, list | tuple) else [found]
    with reading(Path(model.config.name_or_path), "eos_token_id, of generation_config.json,"):
        return list(dict.fromkeys((*trained, *(int(each) for each in named if each is not None))))


def stop_ids(tokenizer: PreTrainedTokenizerFast, eot_id: int | None) -> list[int]:
    """Ids that end an answer: the end of turn that was trained, and the tokenizer's own end of
    text.
    """
    return [i for i in dict.fromkeys((eot_id, tokenizer.eos_token_id)) if i is not None]


def pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """Filler for batches. Masked by position, so any id will do; never looked at by its value."""
    return next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)


def make_savable(model: Any) -> None:
    """Correct a generation config that transformers reads and refuses to write, and report it.

    Many published models name a temperature without `do_sample: true`.
    """
    config = getattr(model, "generation_config", None)
    if config is None or is_savable(config):
        return
    sampling = copy.deepcopy(config)
    sampling.do_sample = True
    named = {
        key: value
        for key, value in config.to_diff_dict().items()
        if not key.endswith("_token_id")
        and key not in ("transformers_version", "_from_model_config")
    }
    shown = ", ".join(f"{key} {value}" for key, value in sorted(named.items()))
    if is_savable(sampling):
        change, kept = "do_sample: true is added", sampling
    else:
        change, kept = "only its token ids are kept", _token_ids_of(config)
    model.generation_config = kept
    console.warning(
        f"the base's generation_config.json contradicts itself ({shown}), and transformers would not"
        f" save it: {change} in what this run writes"
    )


def is_savable(config: Any) -> bool:
    """True if transformers would write it."""
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True


def _token_ids_of(config: Any) -> Any:
    return type(config)(
        **{
            key: value
            for key, value in config.to_dict().items()
            if key.endswith("_token_id") and value is not None
        }
    )
