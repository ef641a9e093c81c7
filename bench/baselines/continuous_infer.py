"""Batch inference by transformers' own continuous batching (generate_batch), with the tuned model."""

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
parser.add_argument("--max-new-tokens", type=int, default=256)
options = parser.parse_args()

with open(options.rows, encoding="utf-8") as lines:
    prompts = [json.loads(line)["prompt"] for line in lines]
tokenizer = AutoTokenizer.from_pretrained(options.model)
base = AutoModelForCausalLM.from_pretrained(options.model, dtype="float32")
model = PeftModel.from_pretrained(base, options.adapter).eval().get_base_model()
model.generation_config.do_sample = False
with torch.no_grad():  # not inference_mode(): it works in a thread of its own
    made = model.generate_batch(prompts, max_new_tokens=options.max_new_tokens)
for one in made.values():  # a failure is only logged, and the answer left empty
    if one.error or not one.generated_tokens:
        raise SystemExit(f"a prompt was not answered: {one.error}")
answers = [tokenizer.decode(one.generated_tokens, skip_special_tokens=True) for one in made.values()]
assert len(answers) == len(prompts), "some prompts were not answered"
with open(options.output, "w", encoding="utf-8") as out:
    json.dump(answers, out)
