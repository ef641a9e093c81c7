"""The data steps by datasets.map, as one would write them without sftplay; a whole process: `python
-m bench._baselines RAW OUT MODEL`.

Rows to conversations with a split by hash, a style prompt, the chat template cut into input and
target, ids and labels: batched, two workers. Each step writes its own Arrow file. Duplicates stay
in, and nothing is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

STYLE = "Show each step, then the result."


def run(raw: str, out: str, model: str) -> None:
    from datasets import load_dataset
    from transformers import PreTrainedTokenizerFast

    rows = load_dataset("json", data_files=raw, split="train", cache_dir=f"{out}/cache")
    names = rows.column_names
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)

    def processed(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = [
            _conversation(dict(zip(batch, values, strict=True)))
            for values in zip(*batch.values(), strict=True)
        ]
        return {
            "messages": [row["messages"] for row in made],
            "id": [row["id"] for row in made],
            "split": [_split_of(row["id"]) for row in made],
        }

    def styled(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"messages": [_styled(messages) for messages in batch["messages"]]}

    def rendered(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        render = _renderer(model)
        pairs = [render(messages) for messages in batch["messages"]]
        return {"input": [given for given, _ in pairs], "target": [target for _, target in pairs]}

    def tokenized(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        given = tokenizer(batch["input"], add_special_tokens=False)["input_ids"]
        target = tokenizer(batch["target"], add_special_tokens=False)["input_ids"]
        return {
            "input_ids": [a + b for a, b in zip(given, target, strict=True)],
            "labels": [[-100] * len(a) + b for a, b in zip(given, target, strict=True)],
        }

    rows = rows.map(processed, batched=True, num_proc=2, remove_columns=names)
    rows = rows.map(styled, batched=True, num_proc=2)
    rows = rows.map(rendered, batched=True, num_proc=2, remove_columns=["messages"])
    rows.map(tokenized, batched=True, num_proc=2, remove_columns=["input", "target"])


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": row["answer"]},
    ]
    text = json.dumps(messages, ensure_ascii=False)
    return {"messages": messages, "id": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _split_of(row_id: str) -> str:
    share = int(row_id[:8], 16) / 2**32
    return "test" if share < 0.05 else "val" if share < 0.1 else "train"


def _styled(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "system", "content": STYLE}, *messages]


_made: dict[str, Any] = {}


def _renderer(model: str) -> Any:
    """(input, target) of a conversation: the template rendered with and without the answer,
    compiled once.
    """
    if model not in _made:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        config = json.loads(Path(model, "tokenizer_config.json").read_text())
        file = Path(model, "chat_template.jinja")
        source = file.read_text() if file.is_file() else config["chat_template"]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(source)
        named = {name: config.get(name) for name in ("bos_token", "eos_token")}

        def render(messages: list[dict[str, str]]) -> tuple[str, str]:
            given = template.render(messages=messages[:-1], add_generation_prompt=True, **named)
            whole = template.render(messages=messages, add_generation_prompt=False, **named)
            return given, whole[len(given) :].rstrip("\n")

        _made[model] = render
    return _made[model]


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    run(*sys.argv[1:])
