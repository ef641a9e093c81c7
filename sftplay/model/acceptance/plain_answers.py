"""Answers by transformers' continuous batching: `python plain_answers.py PLAN RESULT`. It imports
nothing of sftplay.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig


@torch.no_grad()
def main(plan_file: str, result_file: str) -> None:
    """Answer every prompt greedily, once to warm up and once for the clock."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    model: Any = AutoModelForCausalLM.from_pretrained(
        plan["model"], dtype=getattr(torch, plan["dtype"])
    )
    model = model.to(plan["device"]).eval()
    model.generation_config.do_sample = False
    new = plan["new_tokens"]
    # By itself it takes nine tenths of what is free: the GPU's memory, or all of a CPU's.
    small = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=512)
    options = {"continuous_batching_config": small} if plan["device"] == "cpu" else {}
    for count in (2, len(plan["prompts"])):
        began = time.perf_counter()
        prompts = plan["prompts"][:count]
        made = list(model.generate_batch(prompts, max_new_tokens=new, **options).values())
        seconds = time.perf_counter() - began
    errors = [str(one.error) for one in made if one.error]
    tokens = sum(len(one.generated_tokens) for one in made)
    found = {"seconds": seconds, "tokens": tokens, "answers": len(made), "errors": errors}
    Path(result_file).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
