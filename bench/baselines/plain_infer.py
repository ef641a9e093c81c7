"""Batch inference with the tuned model as a plain script does it: one padded batch after another,
in the order of the file.

--continuous: transformers' own continuous batching (generate_batch) instead.
"""

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
parser.add_argument("--continuous", action="store_true")
options = parser.parse_args()


@torch.no_grad()
def padded(model, prompts):
    answers = []
    for start in range(0, len(prompts), options.batch_size):
        batch = tokenizer.pad(
            {"input_ids": prompts[start : start + options.batch_size]}, return_tensors="pt"
        )
        made = model.generate(**batch, do_sample=False, max_new_tokens=options.max_new_tokens)
        answers += tokenizer.batch_decode(
            made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return answers


@torch.no_grad()  # not inference_mode(): it works in a thread of its own
def continuous(model, prompts):
    model.generation_config.do_sample = False
    made = list(
        model.get_base_model()
        .generate_batch(prompts, max_new_tokens=options.max_new_tokens)
        .values()
    )
    for one in made:  # a failure is only logged, and the answer left empty
        if one.error or not one.generated_tokens:
            raise SystemExit(f"a prompt was not answered: {one.error}")
    assert len(made) == len(prompts), "some prompts were not answered"
    return [tokenizer.decode(one.generated_tokens, skip_special_tokens=True) for one in made]


with open(options.rows, encoding="utf-8") as lines:
    prompts = [json.loads(line)["prompt"] for line in lines]
tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
base = AutoModelForCausalLM.from_pretrained(options.model, dtype="float32")
model = PeftModel.from_pretrained(base, options.adapter).eval()
answers = (continuous if options.continuous else padded)(model, prompts)
with open(options.output, "w", encoding="utf-8") as out:
    json.dump(answers, out)
