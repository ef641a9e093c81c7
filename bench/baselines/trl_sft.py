"""TRL's SFTTrainer on prompt/completion rows, written as its documentation writes it. Every option
departs from its defaults.

Reads jsonl rows {"prompt": [messages], "completion": [messages]}, or {"input_ids", "labels"};
writes the seconds of the training loop and its losses.
"""

import argparse
import json
import time

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Times of the steps' ends, each step's loss, and the tokens that TRL counted."""

    def __init__(self):
        self.losses, self.tokens, self.ended = [], 0, 0.0

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.tokens, self.ended = logs.get("num_tokens", 0), time.perf_counter()


parser = argparse.ArgumentParser()
parser.add_argument("rows")
parser.add_argument("model")
parser.add_argument("output")
parser.add_argument("--dtype", default="float32", help="of the base model's weights")
parser.add_argument("--mixed", action="store_true", help="autocast to bf16, which is TRL's default")
parser.add_argument("--no-checkpointing", action="store_true")
parser.add_argument(
    "--in-order", action="store_true", help="take the rows as they stand in the file"
)
parser.add_argument("--learning-rate", type=float, default=2e-4)
parser.add_argument("--packing", action="store_true")
parser.add_argument("--save", action="store_true", help="save the adapter")
options = parser.parse_args()

config = SFTConfig(
    output_dir=f"{options.output}.run",
    model_init_kwargs={"dtype": options.dtype},
    per_device_train_batch_size=4,
    num_train_epochs=1,
    learning_rate=options.learning_rate,
    lr_scheduler_type="cosine",
    warmup_steps=0.03,
    bf16=options.mixed,
    use_cpu=not torch.cuda.is_available(),
    packing=options.packing,
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    seed=42,
    **({"gradient_checkpointing": False} if options.no_checkpointing else {}),
    **({"train_sampling_strategy": "sequential"} if options.in_order else {}),
)
clock = Clock()
trainer = SFTTrainer(
    model=options.model,
    args=config,
    train_dataset=load_dataset("json", data_files=options.rows, split="train"),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[clock],
)
began = time.perf_counter()
trainer.train()
if options.save:
    trainer.save_model(f"{options.output}.run")
with open(options.output, "w", encoding="utf-8") as out:
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0
    json.dump(
        {
            "seconds": clock.ended - began,
            "losses": clock.losses,
            "tokens": clock.tokens,
            "gpu_mb": gpu,
        },
        out,
    )
