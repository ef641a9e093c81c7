"""Unsloth as its notebooks write it: `python unsloth_sft.py ROWS MODEL OUTPUT`. Never run yet: it
needs a GPU.
"""

from unsloth import FastLanguageModel  # isort: skip - it patches the others, so it comes first

import json
import sys
import time

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

rows, name, output = sys.argv[1:]
model, tokenizer = FastLanguageModel.from_pretrained(name, max_seq_length=512, load_in_4bit=True)
model = FastLanguageModel.get_peft_model(
    model,
    r=16,
    lora_alpha=32,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    use_gradient_checkpointing="unsloth",
    random_state=42,
)


def as_text(row):
    return {
        "text": tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    }


trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=load_dataset("json", data_files=rows, split="train").map(
        as_text, remove_columns=["prompt", "completion"]
    ),
    args=SFTConfig(
        output_dir=f"{output}.run",
        dataset_text_field="text",
        per_device_train_batch_size=4,
        num_train_epochs=1,
        learning_rate=2e-4,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=42,
    ),
)
began = time.perf_counter()
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
with open(output, "w", encoding="utf-8") as out:
    json.dump(
        {
            "seconds": time.perf_counter() - began,
            "losses": losses,
            "gpu_mb": torch.cuda.max_memory_allocated() / 2**20,
        },
        out,
    )
