"""GSM8K's rows as TRL's documentation requires them: `python trl_rows.py RAW OUTPUT`, question/answer
→ prompt/completion.
"""

import json
import sys

raw, output = sys.argv[1:]
with open(raw, encoding="utf-8") as rows, open(output, "w", encoding="utf-8") as out:
    for line in rows:
        row = json.loads(line)
        prompt = [{"role": "user", "content": row["question"]}]
        completion = [{"role": "assistant", "content": row["answer"]}]
        out.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
