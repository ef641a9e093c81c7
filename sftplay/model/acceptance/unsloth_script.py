"""QLoRA as Unsloth's notebooks write it: `python unsloth_script.py PLAN RESULT`. It imports nothing
of sftplay.
"""

from __future__ import annotations

from unsloth import FastLanguageModel  # isort: skip - it patches the others, so it comes first

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


class _Clock(TrainerCallback):
    """Times at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time, once the GPU has done its work."""
        torch.cuda.synchronize()
        self.ends.append(time.time())


def main(plan_file: str, result_file: str) -> None:
    """Train, and write when each step ended."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    model, tokenizer = FastLanguageModel.from_pretrained(
        plan["model"], max_seq_length=plan["max_length"], load_in_4bit=True
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        target_modules=[
            *("q_proj", "k_proj", "v_proj", "o_proj"),
            *("gate_proj", "up_proj", "down_proj"),
        ],
        use_gradient_checkpointing="unsloth",
        random_state=42,
    )

    def as_text(row: dict[str, Any]) -> dict[str, str]:
        messages = row["prompt"] + row["completion"]
        return {"text": tokenizer.apply_chat_template(messages, tokenize=False)}

    rows = load_dataset("json", data_files=plan["rows"], split="train")
    clock = _Clock()
    trainer: Any = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows.map(as_text, remove_columns=["prompt", "completion"]),
        args=SFTConfig(
            output_dir=f"{result_file}.run",
            dataset_text_field="text",
            per_device_train_batch_size=plan["batch"],
            max_steps=plan["steps"],
            logging_steps=1,
            learning_rate=2e-4,
            save_strategy="no",
            report_to="none",
        ),
        callbacks=[clock],
    )
    trainer.train()
    found = {"ends": clock.ends, "peak": torch.cuda.max_memory_allocated()}
    Path(result_file).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
