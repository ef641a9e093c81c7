"""Training compared with TRL and LLaMA-Factory, in turns, on the same rows: `inv bench train [--write]
[--args='--steps 10 --rounds 2']`.

`sftplay-auto…` trains in the precision that `auto` chooses on this processor, the other rows of
sftplay in fp32. A step is four rows. Loops are compared: from the start of the loop to the end of
the last step, without imports and model load. `--only NAME,…` takes some of the contestants.
`--rows FILE` takes rows of a jsonl file (GSM8K's), else rows are made up.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench._measure import measure, read_rows
from bench._project import Work, script, sftplay_training, work
from bench._versus import Taken, Turns, parser_of, peak, ratios, seconds, show, take_turns, write

FP32 = ("train.precision=fp32",)
PLAIN = (
    "train.method=lora",
    "train.gradient_checkpointing=false",
    "train.optimizer=adamw_torch_fused",
)
LEAN_MEMORY = ("train.method=lora", "train.gradient_checkpointing=true")
QLORA = ("train.method=qlora",)
GOALS = (
    (
        "auto: tokens/s against TRL, bf16 weights, same batches, no checkpointing",
        "sftplay-auto",
        "trl-bf16",
        1.6,
    ),
    ("auto: tokens/s against TRL, its defaults", "sftplay-auto", "trl", 3.2),
    ("auto: tokens/s against LLaMA-Factory", "sftplay-auto", "llamafactory", 2.3),
    (
        "auto: tokens/s with checkpointing, against TRL's defaults",
        "sftplay-auto-checkpointing",
        "trl",
        2.0,
    ),
    (
        "auto: tokens/s, QLoRA (NF4), against the same in fp32",
        "sftplay-auto-qlora",
        "sftplay-qlora",
        1.0,
    ),
    ("auto: tokens/s against fp32", "sftplay-auto", "sftplay", None),
    (
        "tokens/s against TRL, bf16 weights, same batches, no checkpointing",
        "sftplay",
        "trl-bf16",
        None,
    ),
    ("tokens/s against TRL, fp32, its defaults otherwise", "sftplay", "trl", 2.3),
    ("tokens/s against TRL, fp32, same batches, no checkpointing", "sftplay", "trl-same", None),
    ("tokens/s against LLaMA-Factory", "sftplay", "llamafactory", 1.8),
    ("tokens/s with checkpointing, against TRL's defaults", "sftplay-checkpointing", "trl", 1.5),
    ("tokens/s, QLoRA (NF4), against TRL in fp32", "sftplay-qlora", "trl", None),
    ("tokens/s with packing, against padded rows", "sftplay-packing", "sftplay", None),
)


def contestants(task: Work) -> dict[str, Callable[[], Taken]]:
    """Name → one turn."""
    return {
        "sftplay-auto": lambda: sftplay_training(task, "auto", *PLAIN),
        "sftplay": lambda: sftplay_training(task, "plain", *PLAIN, *FP32),
        "trl": lambda: _trl(task, task.rows),
        "sftplay-checkpointing": lambda: sftplay_training(
            task, "checkpointing", *LEAN_MEMORY, *FP32
        ),
        "sftplay-auto-checkpointing": lambda: sftplay_training(
            task, "auto-checkpointing", *LEAN_MEMORY
        ),
        "llamafactory": lambda: _llamafactory(task),
        "sftplay-packing": lambda: sftplay_training(
            task, "packing", *PLAIN, *FP32, "train.packing=true"
        ),
        "sftplay-qlora": lambda: sftplay_training(task, "qlora", *QLORA, *FP32),
        "sftplay-auto-qlora": lambda: sftplay_training(task, "auto-qlora", *QLORA),
        "trl-same": lambda: _trl(task, task.in_order, "--no-checkpointing", "--in-order"),
        "trl-bf16": lambda: _trl(
            task,
            task.in_order,
            "--no-checkpointing",
            "--in-order",
            "--dtype",
            "bfloat16",
            "--mixed",
        ),
    }


def main(argv: list[str]) -> int:
    parser = parser_of("train", rounds=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", metavar="FILE")
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="on a GPU machine: BnB, Unsloth, TRL, Unsloth's own script",
    )
    options = parser.parse_args(argv)
    if options.gpu:
        from bench import _gpu

        return _gpu.main(options)
    with work(options.rows, options.steps) as task:
        print(
            f"{task.steps} steps of 4 rows, {task.tokens:,} tokens, {task.trained_tokens:,} of them trained",
            flush=True,
        )
        runs = contestants(task)
        turns = take_turns({name: runs[name] for name in options.only or runs}, options.rounds)
        tables = report(task, turns)
    if options.write:
        write("train", tables)
    return 0


def report(task: Work, turns: Turns) -> list[str]:
    """The tables: figures of each, ratios, loss curves."""
    note = f"{task.steps} steps of 4 rows, SmolLM2-135M-Instruct, LoRA r 16; tokens/s count every token of the rows ({task.tokens:,}, {task.trained_tokens:,} of them trained), padding not"
    figures = [
        (
            name,
            f"{task.tokens / statistics.median(map(seconds, taken)):.0f}",
            f"{statistics.median(map(peak, taken)) / 1000:.2f} GB",
            f"{statistics.median(each.cpu for each in taken):.0f} s",
            str(len(taken)),
        )
        for name, taken in turns.items()
    ]
    compared = [
        (what, ratios(turns, ours, theirs, seconds), f"{goal} ×" if goal else "")
        for what, ours, theirs, goal in GOALS
        if ours in turns and theirs in turns
    ]
    for name, goal in (("sftplay-checkpointing", "0.75"), ("sftplay-auto-checkpointing", "0.40")):
        if name in turns and "trl" in turns:
            less = statistics.median(map(peak, turns[name])) / statistics.median(
                map(peak, turns["trl"])
            )
            compared.append(
                (f"peak memory of {name}, of TRL's defaults", f"{less:.2f} ×", f"{goal} × or less")
            )
    for ours, exact in (
        ("sftplay-auto", "sftplay"),
        ("sftplay-auto-qlora", "sftplay-qlora"),
        ("trl-bf16", "sftplay"),
    ):
        if ours in turns and exact in turns:
            means = [statistics.mean(turns[name][0].facts["losses"]) for name in (ours, exact)]
            goal = "within 0.5 %" if ours != "trl-bf16" else ""
            compared.append(
                (
                    f"mean loss of {ours}, apart from {exact}",
                    f"{means[0] / means[1] - 1:+.2%}",
                    goal,
                )
            )
    tables = [
        show(
            "Each alone",
            ("who", "tokens/s", "peak memory", "CPU, whole process", "rounds"),
            figures,
            [note],
        ),
        show(
            "Ratios of medians (smallest and largest of one round)",
            ("what", "ratio", "at least"),
            compared,
        ),
    ]
    if "sftplay" in turns and "trl-same" in turns:
        ours, theirs = (turns[name][0].facts["losses"] for name in ("sftplay", "trl-same"))
        apart = [abs(a / b - 1) for a, b in zip(ours, theirs, strict=True)]
        rows = [
            (str(step), f"{a:.4f}", f"{b:.4f}", f"{d:.2%}")
            for step, (a, b, d) in enumerate(zip(ours, theirs, apart, strict=True), 1)
        ]
        mine, other = statistics.mean(ours), statistics.mean(theirs)
        rows.append(("mean", f"{mine:.4f}", f"{other:.4f}", f"{abs(mine / other - 1):.2%}"))
        tables.append(
            show(
                "Loss on the same batches",
                ("step", "sftplay", "TRL", "apart"),
                rows,
                [
                    f"largest difference {max(apart):.2%}; goal: within 1 %. TRL counted {turns['trl-same'][0].facts['tokens']:,.0f} tokens, sftplay {task.tokens:,}"
                ],
            )
        )
    return tables


def _trl(task: Work, rows: Path, *words: str) -> Taken:
    output = task.project / "trl.json"
    return script(
        task.project, "trl_sft", str(rows), str(task.model), str(output), *words, output=output
    )


def _llamafactory(task: Work) -> Taken:
    """Its CLI with its own defaults; LoRA's shape, rows, length, learning rate and batch are set as
    for the others.
    """
    from sftplay.host.local import environments

    home = task.project / "llamafactory"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    rows = read_rows(task.rows)
    alpaca = [
        {"instruction": row["prompt"][-1]["content"], "output": row["completion"][0]["content"]}
        for row in rows
    ]
    (home / "rows.json").write_text(json.dumps(alpaca), encoding="utf-8")
    (home / "dataset_info.json").write_text(
        json.dumps(
            {
                "rows": {
                    "file_name": "rows.json",
                    "columns": {"prompt": "instruction", "response": "output"},
                }
            }
        )
    )
    settings = {
        "model_name_or_path": str(task.model), "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 16, "lora_alpha": 32,
        "lora_target": "all", "dataset_dir": str(home), "dataset": "rows", "template": "smollm2", "cutoff_len": 512, "output_dir": str(home / "out"),
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_train_epochs": 1, "learning_rate": 2e-4, "logging_steps": 1,
        "lr_scheduler_type": "cosine", "warmup_ratio": 0.03, "save_strategy": "no", "report_to": "none", "overwrite_output_dir": True,
    }  # fmt: skip
    (home / "train.yaml").write_text(json.dumps(settings), encoding="utf-8")
    # It imports torchaudio whatever it trains on, and PyPI's builds of that load CUDA's libraries:
    # an empty module will do for text.
    (home / "torchaudio.py").write_text("", encoding="utf-8")
    cli = environments.ensure("llamafactory").folder / "bin" / "llamafactory-cli"
    environ = {"PYTHONPATH": str(home), "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    cost = measure([str(cli), "train", str(home / "train.yaml")], home, **environ).checked()
    result = json.loads((home / "out" / "all_results.json").read_text())
    log = read_rows(home / "out" / "trainer_log.jsonl")
    return Taken(
        result["train_runtime"],
        cost.peak_mb,
        cost.cpu,
        {"losses": [point["loss"] for point in log if "loss" in point]},
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
