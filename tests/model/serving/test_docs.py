"""The Python examples of docs/elsewhere.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.box import ROOT, Box
from tests.model.plain_inference import plain_answer
from tests.model.serving.conftest import Serve

QUESTION = "How many clips are 3 and 21?"


def test_the_examples(trained: Path, tiny_model: Path, box: Box, serve: Serve) -> None:
    assert box.run("merge", "--run", "demo", "--dtype", "fp32", cwd=trained).code == 0
    one = serve(trained, "--run", "demo")
    text = (ROOT / "docs/elsewhere.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        code = snippet.replace("BASE", str(tiny_model)).replace(":8000/", f":{one.port}/")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=trained,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip("\n") == plain_answer(trained, QUESTION), snippet
