"""QLoRA by TRL's SFTTrainer: `python trl_script.py PLAN RESULT`. It imports nothing of sftplay.

With `"same": true` in the plan every setting is sftplay's; else TRL's and bitsandbytes' own defaults
stay, but for the batch, the number of steps and 4 bits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer


class _Clock(TrainerCallback):
    """Times at which steps ended, and losses."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time, once the GPU has done its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.time())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the loss."""
        if "loss" in (logs or {}):
            self.losses.append(float(logs["loss"]))


def main(plan_file: str, result_file: str) -> None:
    """Train, and write when each step ended."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    numbers = torch.bfloat16 if plan["precision"] == "bf16" else torch.float32
    quantized: dict[str, Any] = {"load_in_4bit": True}
    options: dict[str, Any] = {}
    if plan["same"]:
        quantized |= {
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": numbers,
        }
        options = {
            "learning_rate": 2e-4,
            "lr_scheduler_type": "constant",
            "max_length": plan["max_length"],
            "bf16": plan["precision"] == "bf16",
        }
    config = SFTConfig(
        output_dir=f"{result_file}.run",
        model_init_kwargs={
            "dtype": numbers,
            "quantization_config": BitsAndBytesConfig(**quantized),
        },
        per_device_train_batch_size=plan["batch"],
        max_steps=plan["steps"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        **options,
    )
    clock = _Clock()
    trainer: Any = SFTTrainer(
        model=plan["model"],
        args=config,
        train_dataset=load_dataset("json", data_files=plan["rows"], split="train"),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.train()
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    found = {"ends": clock.ends, "losses": clock.losses, "peak": peak}
    Path(result_file).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
