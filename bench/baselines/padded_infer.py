"""Batch inference as a plain script does it: one padded batch after another, in the order of the file, with the tuned model."""

import argparse
import json

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("rows", help="jsonl: prompt (ids)")
parser.add_argument("model")
parser.add_argument("adapter")
parser.add_argument("output")
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--max-new-tokens", type=int, default=256)
options = parser.parse_args()

with open(options.rows, encoding="utf-8") as lines:
    prompts = [json.loads(line)["prompt"] for line in lines]
tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
base = AutoModelForCausalLM.from_pretrained(options.model, dtype="float32")
model = PeftModel.from_pretrained(base, options.adapter).eval()
answers = []
for start in range(0, len(prompts), options.batch_size):
    batch = tokenizer.pad({"input_ids": prompts[start : start + options.batch_size]}, return_tensors="pt")
    with torch.no_grad():
        made = model.generate(**batch, do_sample=False, max_new_tokens=options.max_new_tokens)
    answers += tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
with open(options.output, "w", encoding="utf-8") as out:
    json.dump(answers, out)
