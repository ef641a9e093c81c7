"""Base and adapter in one folder, as PEFT's documentation does it: `python trl_merge.py MODEL
ADAPTER OUTPUT`.
"""

import sys

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model, adapter, output = sys.argv[1:]
merged = PeftModel.from_pretrained(
    AutoModelForCausalLM.from_pretrained(model), adapter
).merge_and_unload()
merged.save_pretrained(output)
AutoTokenizer.from_pretrained(model).save_pretrained(output)
