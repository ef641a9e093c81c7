"""Own frames between `inv train` and the training loop, counted in a real training of a tiny model.

Each Python process of a copy of the checkout writes its stack down at the moment when it starts the
next one, and the last one when it writes its first step. A frame is ours if its file is in sftplay/
or is tasks.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench._measure import ROOT
from sftplay.host.local import environments
from tests.tiny import make_tiny_model

# At the end of the copy's package: each of its processes imports that first.
HOOK = """
import json, os, sys
OUT, ROOT = os.environ.get("SFTPLAY_HOPS_OUT"), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
def frames(until):
    frame, found = sys._getframe(2), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    names = []
    for frame in reversed(found):
        path = frame.f_code.co_filename
        if until and until in path:
            break
        if path.startswith(ROOT + "/sftplay/") or path == ROOT + "/tasks.py":
            names.append(os.path.relpath(path, ROOT) + ":" + frame.f_code.co_name)
    return names
def hook(event, args):
    if event == "subprocess.Popen" and "train" in list(map(str, args[1] or ())):
        note("starts " + " ".join(map(str, args[1]))[:400], frames(""))
    elif event == "open" and str(args[0]).endswith("steps.jsonl") and "transformers.trainer" in sys.modules:
        note("loop", frames("transformers/trainer.py"))
def note(what, names):
    with open(OUT, "a") as file:
        file.write(json.dumps({"what": what, "frames": names}) + "\\n")
if OUT:
    sys.addaudithook(hook)
"""
CONFIG = """
model: {{name: {model}, max_length: 256}}
data: {{val_share: 0.1, test_share: 0}}
train: {{method: lora, max_steps: 2, batch_size: 2, logging_steps: 1}}
"""


def train_hops() -> dict[str, list[str]]:
    """Train a tiny model for two steps; return the own frames of each process on the way to the
    loop.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "checkout"
        for part in ("sftplay", "configs", "images"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "tasks.py", copy)
        with open(copy / "sftplay/__init__.py", "a") as package:
            package.write(HOOK)
        (copy / "data" / "raw").mkdir(parents=True)
        rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
        (copy / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
        model = make_tiny_model(Path(name) / "tiny")
        (copy / "configs" / "run_bnb.yaml").write_text(CONFIG.format(model=model))
        out = Path(name) / "hops.jsonl"
        variables = {
            "SFTPLAY_HOPS_OUT": str(out),
            "PYTHONPATH": str(copy),
            "SFTPLAY_ENVS": str(environments.ensure("cpu").folder.parent),
        }
        words = [sys.executable, "-m", "invoke", "train", "--runner=local", "--device=cpu"]
        done = subprocess.run(
            words,
            cwd=copy,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the training ended with {done.returncode}\n{done.stderr[-2000:]}")
        notes = [json.loads(line) for line in out.read_text().splitlines()]
    return _by_process(notes)


def _by_process(notes: list[dict[str, object]]) -> dict[str, list[str]]:
    starts = [note for note in notes if str(note["what"]).startswith("starts")]
    loop = next(note for note in notes if note["what"] == "loop")
    names = ("task", "supervisor", *(f"process {number}" for number in range(3, 9)))
    found = dict(zip(names, ([str(one) for one in _list(note)] for note in starts), strict=False))
    return {**found, "stage": [str(one) for one in _list(loop)]}


def _list(note: dict[str, object]) -> list[object]:
    frames = note["frames"]
    assert isinstance(frames, list)
    return frames
