"""Step `answers`: batch decoding next to transformers' continuous batching; the first token of a
chat.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sftplay.acceptance import SPEED
from sftplay.model.acceptance.context import MODEL, Context, NotAsExpected
from sftplay.model.acceptance.inputs import rows
from sftplay.untrusted import read_json

_STOPS, _PAD = [2], 2


def run(context: Context) -> None:
    """Answer the same prompts in both ways, greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    asked = rows(context.amounts.prompts, 20, seed=9)
    prompts = [tokenizer(f"<|im_start|>user\n{row['user']}")["input_ids"] for row in asked]
    dtype = "bfloat16" if context.device == "cuda" else "float32"
    with context.row("transformers, continuous batching") as values:
        plan = {
            "model": MODEL, "prompts": prompts, "dtype": dtype, "device": context.device,
            "new_tokens": context.amounts.new_tokens,
        }  # fmt: skip
        Path("answers-plan.json").write_text(json.dumps(plan), encoding="utf-8")
        context.script("plain_answers", "answers-plan.json", "answers.json").checked()
        found = read_json(Path("answers.json"))
        values.update({SPEED: found["tokens"] / found["seconds"], "tokens": found["tokens"]})
        if found["errors"] or found["answers"] != len(prompts):
            raise NotAsExpected(
                f"{found['answers']} answers of {len(prompts)}: {found['errors'][:1]}"
            )
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL, dtype=getattr(torch, dtype))
    model = model.to(context.device).eval()
    with context.row("sftplay, batch") as values:
        values.update(_ours(model, prompts, context.amounts.new_tokens))
    with context.row("first token of a chat") as values:
        values["milliseconds"] = _first_token(model, prompts[0])


def _ours(model: Any, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
    from sftplay.model.answers.generate import Request, answers
    from sftplay.model.answers.sampling import Sampling

    sampling = Sampling(max_new_tokens=new_tokens)
    for count in (2, len(prompts)):  # once to warm up
        requests = [Request(number, ids) for number, ids in enumerate(prompts[:count])]
        began = time.perf_counter()
        made = dict(answers(model, requests, sampling, _STOPS, _PAD, size=len(prompts)))
        seconds = time.perf_counter() - began
    if len(made) != len(prompts):
        raise NotAsExpected(f"{len(made)} answers of {len(prompts)}")
    # as transformers counts: the token that ends an answer too
    tokens = sum(len(answer.ids) + answer.ended for answer in made.values())
    return {SPEED: tokens / seconds, "tokens": tokens}


def _first_token(model: Any, prompt: list[int]) -> float:
    from sftplay.model.answers.sampling import Sampling
    from sftplay.model.answers.stream import Stream

    taken = []
    for _ in range(3):
        stream = Stream(model, _STOPS, _PAD)
        began = time.perf_counter()
        next(iter(stream.tokens(prompt, Sampling(max_new_tokens=4))), None)
        taken.append(1000 * (time.perf_counter() - began))
    return min(taken)
