"""Questions, and their answers by transformers and PEFT alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [f"How many clips are {n} and {n + 3}?" + " Really?" * (n % 4) for n in range(30)]


def plain_answer(project: Path, question: str, *, tuned: bool = True, **settings: Any) -> str:
    """Answer with transformers and PEFT alone, from the run's folder; `settings` of generate."""
    run = project / "outputs/demo"
    config = yaml.safe_load((run / "config.yaml").read_text())
    model = AutoModelForCausalLM.from_pretrained(config["model"]["name"]).eval()
    if tuned:
        model = PeftModel.from_pretrained(model, run / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(
        run / "adapter", chat_template=(run / "chat_template.jinja").read_text()
    )
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        made = model.generate(**ids, max_new_tokens=24, do_sample=False, **settings)
    return str(tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
