"""The same data steps as one would write them without sftplay; each is a whole process: `python -m bench._baselines NAME …`.

`bare` is the floor: parse each row and write it three times, nothing else. The others do the three steps (rows to conversations
with a split by hash and without duplicates, a style prompt, the chat template cut into input and target), as plainly as is usual.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

STYLE = "Show each step, then the result."
SPLITS = ("train", "val", "test")


def bare(raw: str, out: str) -> None:
    import orjson

    with open(raw, "rb") as rows, open(f"{out}/1", "wb") as a, open(f"{out}/2", "wb") as b, open(f"{out}/3", "wb") as c:
        for line in rows:
            row = orjson.loads(line)
            for file in (a, b, c):
                file.write(orjson.dumps(row) + b"\n")


def plain(raw: str, out: str, model: str) -> None:
    """json and jinja2, a row at a time."""
    seen: set[str] = set()
    with open(raw) as rows:
        files = {split: open(f"{out}/processed-{split}.jsonl", "w") for split in SPLITS}  # noqa: SIM115
        for line in rows:
            row = json.loads(line)
            made = _conversation(row)
            if made["id"] in seen:
                continue
            seen.add(made["id"])
            files[_split_of(made["id"])].write(json.dumps(made, ensure_ascii=False) + "\n")
        for file in files.values():
            file.close()
    for split in SPLITS:
        with open(f"{out}/processed-{split}.jsonl") as rows, open(f"{out}/styled-{split}.jsonl", "w") as file:
            for line in rows:
                row = json.loads(line)
                row["messages"] = _styled(row["messages"])
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    render = _renderer(model)
    for split in SPLITS:
        with open(f"{out}/styled-{split}.jsonl") as rows, open(f"{out}/rendered-{split}.jsonl", "w") as file:
            for line in rows:
                row = json.loads(line)
                given, target = render(row["messages"])
                file.write(json.dumps({"id": row["id"], "input": given, "target": target}, ensure_ascii=False) + "\n")


def mapped(raw: str, out: str, model: str) -> None:
    """datasets.map, batched, 2 workers. What it writes of each step is its own Arrow file; duplicates stay in."""
    from datasets import load_dataset

    rows = load_dataset("json", data_files=raw, split="train", cache_dir=f"{out}/cache")
    names = rows.column_names

    def processed(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = [_conversation(dict(zip(batch, values, strict=True))) for values in zip(*batch.values(), strict=True)]
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

    rows = rows.map(processed, batched=True, num_proc=2, remove_columns=names)
    rows = rows.map(styled, batched=True, num_proc=2)
    rows.map(rendered, batched=True, num_proc=2, remove_columns=["messages"])


def tokenized(folder: str, out: str, model: str) -> None:
    """datasets.map over rendered rows with the same tokenizer, batched, 2 workers; nothing is checked."""
    from datasets import load_dataset
    from transformers import PreTrainedTokenizerFast

    files = [str(path) for path in sorted(Path(folder).glob("*.jsonl")) if path.stem in SPLITS and path.stat().st_size]
    rows = load_dataset("json", data_files=files, split="train", cache_dir=f"{out}/cache")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)

    def ids(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        given = tokenizer(batch["input"], add_special_tokens=False)["input_ids"]
        target = tokenizer(batch["target"], add_special_tokens=False)["input_ids"]
        return {
            "input_ids": [a + b for a, b in zip(given, target, strict=True)],
            "labels": [[-100] * len(a) + b for a, b in zip(given, target, strict=True)],
        }

    rows.map(ids, batched=True, num_proc=2, remove_columns=["input", "target"])


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    text = json.dumps(messages, ensure_ascii=False)
    return {"messages": messages, "id": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _split_of(row_id: str) -> str:
    share = int(row_id[:8], 16) / 2**32
    return "test" if share < 0.05 else "val" if share < 0.1 else "train"


def _styled(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "system", "content": STYLE}, *messages]


_made: dict[str, Any] = {}


def _renderer(model: str) -> Any:
    """(input, target) of a conversation: the template rendered with and without the answer, compiled once."""
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
    {"bare": bare, "plain": plain, "datasets": mapped, "tokenized": tokenized}[sys.argv[1]](*sys.argv[2:])
