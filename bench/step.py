"""Time of each part of one training step, and its distance from the processor's matrix products:
`inv bench step`.

LoRA in fp32 on the CPU, without TRL's loop around it. The lean parts of sftplay/model/lean are
switched off and on in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench._measure import measure
from bench._project import AS_THE_RUNNER, BATCH, Work, work
from bench._versus import Taken, ratios, seconds, show, take_turns, write

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm"),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "optimizer": ("aten::_fused_adamw_",),
}  # what is not here is passes over activations, and Python


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="inv bench step")
    parser.add_argument(
        "--steps", type=int, default=6, help="of 4 rows, after one that is not counted"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", metavar="WORDS", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        _child(options.child.split(","), options.steps)
        return 0
    with work(options.rows, options.steps + 1) as task:
        turns = take_turns(
            {
                "as the libraries compute it": lambda: _turn(task, options.steps, "libraries"),
                "sftplay": lambda: _turn(task, options.steps, "lean"),
            },
            options.rounds,
        )
        profile = _turn(task, options.steps, "lean,profile").facts
    plain, ours = "as the libraries compute it", "sftplay"
    tables = [
        show(
            f"The same {options.steps} steps with and without sftplay/model/lean",
            ("what", "ratio"),
            [
                ("wall time", ratios(turns, ours, plain, seconds)),
                ("CPU time", ratios(turns, ours, plain, lambda taken: taken.cpu)),
            ],
        ),
        _shares(profile),
    ]
    if options.write:
        write("step", tables)
    return 0


def _shares(profile: Any) -> str:
    whole, limit = profile["seconds"], profile["flops"] / profile["peak"]
    rows = [
        (kind, f"{spent:.2f} s", f"{spent / whole:.0%}") for kind, spent in profile["kinds"].items()
    ]
    rows.append(("the whole step", f"{whole:.2f} s", "100%"))
    rows.append(
        ("its matrix products at the processor's best", f"{limit:.2f} s", f"{limit / whole:.0%}")
    )
    notes = [
        f"{profile['tokens']} tokens; {profile['flops']:.0f} GFLOP of matrix products, done at {profile['flops'] / profile['kinds']['matrix products']:.0f} GFLOP/s",
        f"the processor's best: {profile['peak']:.0f} GFLOP/s in fp32, {profile['peak_bf16']:.0f} in bf16 ({profile['tokens']} × 576 by 576 × 1536, alone, with warm caches)",
    ]
    return show("One step under PyTorch's profiler", ("what", "time", "share"), rows, notes)


def _turn(task: Work, steps: int, words: str) -> Taken:
    argv = [sys.executable, "-m", "bench.step", "--child", words, "--steps", str(steps)]
    cost = measure(argv, task.project, HF_HUB_OFFLINE="1", **AS_THE_RUNNER).checked()
    facts = json.loads(cost.said.strip().splitlines()[-1])
    return Taken(facts["seconds"], cost.peak_mb, facts["cpu"], facts)


def _child(words: list[str], steps: int) -> None:
    """In the project's folder: train, and print figures as the last line."""
    import torch
    from datasets import Dataset

    from sftplay.config import load_config
    from sftplay.model.backends import load_backend
    from sftplay.model.forward.collate import Collator
    from sftplay.model.forward.loss import target_loss
    from sftplay.model.lean import slim
    from sftplay.model.runtime.quiet import quiet_libraries
    from sftplay.model.training.order import epoch_order
    from sftplay.places import find_model

    settings = load_config(
        Path("configs/run_bnb.yaml"), ["train.method=lora", "train.gradient_checkpointing=false"]
    )
    quiet_libraries()
    torch.set_num_threads(os.cpu_count() or 1)
    backend = load_backend("bnb")
    model = backend.prepare(
        backend.load(settings, find_model(settings), "cpu", "fp32"), settings, None
    )
    model.train()
    if "lean" in words:
        slim(model, "fp32")
    rows = Dataset.from_file("data/tokenized/train.arrow")
    order = epoch_order([len(ids) for ids in rows["input_ids"]], settings.train.seed, 0, BATCH)
    collate = Collator(0)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, fused=True)

    def step(number: int) -> int:
        inputs = collate([rows[place] for place in order[BATCH * number : BATCH * (number + 1)]])
        total, count = target_loss(model, inputs, plain_head=True)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int(inputs["input_ids"].numel())

    step(0)
    if "profile" in words:
        facts = _profiled(step)
    else:
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(1, steps + 1):
            step(number)
        facts = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print(json.dumps(facts))


def _profiled(step: Any) -> dict[str, Any]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], with_flops=True, record_shapes=True) as seen:
        began, cpu = time.perf_counter(), time.process_time()
        tokens = step(1)
        spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    own = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    kinds = {kind: sum(own.get(name, 0.0) for name in names) for kind, names in KINDS.items()}
    kinds["passes over activations, and all the rest"] = spent - sum(kinds.values())
    flops = (
        sum(event.flops for event in seen.key_averages() if event.key in KINDS["matrix products"])
        / 1e9
    )
    best, best_bf16 = (_products(tokens, dtype) for dtype in ("float32", "bfloat16"))
    return {
        "seconds": spent, "cpu": cpu, "tokens": tokens, "kinds": kinds, "flops": flops, "peak": best, "peak_bf16": best_bf16,
    }  # fmt: skip


def _products(tokens: int, dtype: str) -> float:
    """GFLOP/s of the model's largest product, the best of twenty."""
    import torch

    x, weight = (
        torch.randn(*shape).to(getattr(torch, dtype)) for shape in ((tokens, 576), (1536, 576))
    )
    took = []
    for _ in range(20):
        began = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        took.append(time.perf_counter() - began)
    return 2 * tokens * 576 * 1536 / min(took) / 1e9


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
