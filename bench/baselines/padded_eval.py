"""Evaluation as a plain script does it: one padded batch after another, in the order of the file,
base model and tuned one.

Loads the model once for each, takes transformers' own loss and generate(). Reads what sftplay
tokenized, so both look at the same rows and prompts; writes the losses and the answers.
"""

import argparse
import json

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("rows", help="jsonl: input_ids, labels, prompt (ids before the last answer)")
parser.add_argument("model")
parser.add_argument("adapter")
parser.add_argument("output")
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--max-new-tokens", type=int, default=256)
options = parser.parse_args()


def padded(rows, filler, left=False):
    longest = max(map(len, rows))
    fill = [[filler] * (longest - len(row)) for row in rows]
    return torch.tensor([f + row if left else row + f for f, row in zip(fill, rows, strict=True)])


@torch.no_grad()
def evaluate(model, rows, tokenizer):
    total, tokens, answers = 0.0, 0, []
    for start in range(0, len(rows), options.batch_size):
        batch = rows[start : start + options.batch_size]
        ids = padded([row["input_ids"] for row in batch], tokenizer.pad_token_id)
        mask = padded([[1] * len(row["input_ids"]) for row in batch], 0)
        labels = padded([row["labels"] for row in batch], -100)
        count = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=ids, attention_mask=mask, labels=labels).loss.item() * count
        tokens += count
        prompts = padded([row["prompt"] for row in batch], tokenizer.pad_token_id, left=True)
        mask = padded([[1] * len(row["prompt"]) for row in batch], 0, left=True)
        made = model.generate(
            input_ids=prompts,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=options.max_new_tokens,
        )
        answers += tokenizer.batch_decode(made[:, prompts.shape[1] :], skip_special_tokens=True)
    return {"loss": total / tokens, "answers": answers}


tokenizer = AutoTokenizer.from_pretrained(options.model)
with open(options.rows, encoding="utf-8") as lines:
    rows = [json.loads(line) for line in lines]
results = {
    "base": evaluate(
        AutoModelForCausalLM.from_pretrained(options.model, dtype="float32"), rows, tokenizer
    )
}
tuned = PeftModel.from_pretrained(
    AutoModelForCausalLM.from_pretrained(options.model, dtype="float32"), options.adapter
).eval()
results["tuned"] = evaluate(tuned, rows, tokenizer)
with open(options.output, "w", encoding="utf-8") as out:
    json.dump(results, out)
