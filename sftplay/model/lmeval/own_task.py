"""`eval --write-task`: a run's held-out rows as a task of lm-eval, for other models and other people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from sftplay import console
from sftplay.errors import DataError, NotFoundError
from sftplay.files import write_bytes, write_text
from sftplay.model.evaluation.held_out import SPLIT_FILES
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.untrusted import read_json
from sftplay.yamlfile import dump_yaml

_HEADER = """# The {split} split of the run {run}: {count}. Start lm-eval in the folder in which this path begins:
# lm_eval run --model hf --model_args pretrained=MODEL --apply_chat_template --tasks {path}
"""
_NAMES = {"user": "User", "assistant": "Assistant"}


def write_task(run: Run, settings: Settings, split: str, samples: int | None) -> None:
    """Write outputs/<run>/eval/for-lm-eval/<run>_<split>.yaml, and its rows next to it.

    Raises:
        NotFoundError: no data/processed (66). DataError: the split is empty (65).
    """
    rows = list(_rows(settings, split))[:samples]
    if not rows:
        raise DataError(
            f"the {split} split is empty: nothing to make a task of",
            where=str(data_folder("processed", settings)),
            todo="give it a share of the rows: --set data.test_share=0.1, then inv process",
        )
    folder = run.folder / "eval" / "for-lm-eval"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{run.name}_{split}"
    lines, path = folder / f"{name}.jsonl", folder / f"{name}.yaml"
    write_bytes(lines, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    count = console.count_of(len(rows))
    header = _HEADER.format(split=split, run=run.name, count=count, path=path)
    task = _task(name, str(lines), settings.eval.max_new_tokens)
    write_text(path, header + dump_yaml(task))
    several = sum("\n\nUser: " in row["question"] for row in rows)
    if several:
        console.info(
            f"{console.count_of(several)} with several turns: the earlier ones stand as text before the question"
        )
    if read_json(run.folder / "run.json").get("style"):
        console.info(
            "the run's style prompt is not in the task: `inv eval --tasks … --chat-template` adds it, "
            "lm_eval by --system_instruction"
        )
    console.success(f"{path} ({count})")


def _task(name: str, rows: str, longest: int) -> dict[str, Any]:
    measured = [("exact_match", "mean"), ("chrf", "chrf")]
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": rows}},
        "test_split": "test",
        "output_type": "generate_until",
        "description": "{{system}}",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": longest},
        "metric_list": [
            {"metric": metric, "aggregation": how, "higher_is_better": True}
            for metric, how in measured
        ],
    }


def _rows(settings: Settings, split: str) -> Iterator[dict[str, str]]:
    """Yield id, system turn, question and answer of each row, by id. The answer is the last one."""
    found: list[dict[str, str]] = []
    for name in SPLIT_FILES[split]:
        path = data_folder("processed", settings) / f"{name}.jsonl"
        if not path.is_file():
            raise NotFoundError("no processed rows", where=str(path), todo="make them: inv process")
        with open(path, "rb") as lines:
            found += map(_row, map(orjson.loads, lines))
    yield from sorted(found, key=lambda row: row["id"])


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    everything = [(one["role"], str(one.get("content") or "")) for one in row["messages"]]
    turns = [one for one in everything if one[0] != "system"]
    last = max(
        (place for place, (role, _) in enumerate(turns) if role == "assistant"), default=len(turns)
    )
    before = turns[:last]
    question = before[0][1] if len(before) == 1 else _conversation(before)
    answer = turns[last][1] if last < len(turns) else ""
    return {
        "id": str(row["id"]),
        "system": "\n".join(text for role, text in everything if role == "system"),
        "question": question,
        "answer": answer,
    }


def _conversation(turns: list[tuple[str, str]]) -> str:
    return "\n\n".join(f"{_NAMES.get(role, role)}: {text}" for role, text in turns)
