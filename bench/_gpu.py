"""`inv bench train --gpu`: BnB, Unsloth, TRL and Unsloth's own script in turns, on a machine with
an NVIDIA GPU.

Never run yet: no machine with a GPU was at hand when it was written. Contestants whose environment
or kernel is missing are left
out with what they said. sftplay's runs and TRL's take place in the bnb environment, Unsloth's in
the unsloth environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._measure import ROOT, measure
from bench._project import AS_THE_RUNNER, COMMON, Work, sets, take_losses, work
from bench._versus import Taken, Turns, ratios, seconds, show, take_turns, write

BASELINES = Path(__file__).parent / "baselines"
PRECISION = "train.precision=bf16"
LAYERS = (
    ("smollm2-135m-instruct", None),
    (
        "random 7B",
        {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
    ),
)


def main(options: argparse.Namespace) -> int:
    """The table for each model that can be made here: steps/s, tokens/s, peak memory, attention
    kernel.
    """
    from sftplay.host.system.machine import read_machine

    if not read_machine().has_gpu:
        print("no NVIDIA GPU on this machine: nothing to measure")
        return 69
    tables = []
    for title, shape in LAYERS:
        with work(options.rows, options.steps) as task:
            model = task.model if shape is None else _random_model(task, shape)
            turns = take_turns(_contestants(task, model), options.rounds)
            tables += _report(title, task, turns)
    if options.write:
        write("train --gpu", tables)
    return 0


def _contestants(task: Work, model: Path) -> dict[str, Callable[[], Taken]]:
    method, packing = "train.method=qlora", "train.packing=true"
    trl = [
        str(BASELINES / "trl_sft.py"),
        str(task.rows),
        str(model),
        str(task.project / "trl.json"),
        "--dtype",
        "bfloat16",
        "--mixed",
    ]
    own = [
        str(BASELINES / "unsloth_sft.py"),
        str(task.rows),
        str(model),
        str(task.project / "unsloth.json"),
    ]
    return {
        "sftplay bnb, qlora": lambda: _sftplay(task, model, "bnb", method),
        "sftplay bnb, lora": lambda: _sftplay(task, model, "bnb", "train.method=lora"),
        "sftplay bnb, qlora, packing": lambda: _sftplay(task, model, "bnb", method, packing),
        "sftplay unsloth, qlora": lambda: _sftplay(task, model, "unsloth", method),
        "sftplay unsloth, qlora, packing": lambda: _sftplay(task, model, "unsloth", method, packing),
        "TRL, bf16": lambda: _script("bnb", task, trl, task.project / "trl.json"),
        "TRL, bf16, packing": lambda: _script("bnb", task, [*trl, "--packing"], task.project / "trl.json"),
        "Unsloth's script": lambda: _script("unsloth", task, own, task.project / "unsloth.json"),
    }  # fmt: skip


def _sftplay(task: Work, model: Path, backend: str, *wanted: str) -> Taken:
    """One training in the backend's environment; a hand-over counts as failed: it would measure
    another backend.
    """
    from sftplay.host.local import environments

    run = f"gpu-{backend}"
    settings = [
        *COMMON,
        f"backend={backend}",
        f"model.name={model}",
        PRECISION,
        *wanted,
        "train.device=cuda",
        "data.val_share=0",
        "data.test_share=0",
    ]
    argv = [
        str(environments.ensure(backend).python),
        "-m",
        "sftplay",
        "train",
        "--run",
        run,
        *sets(*settings),
    ]
    folder = task.project / "outputs" / run
    measure(["rm", "-rf", str(folder)], task.project)
    cost = measure(
        argv, task.project, **AS_THE_RUNNER, SFTPLAY_DEVICE="cuda", SFTPLAY_STACK=backend
    ).checked()
    loop, losses = take_losses(folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    memory = (record.get("peak_memory_bytes") or 0) / 2**20
    return Taken(
        loop,
        float(memory),
        cost.cpu,
        {"losses": losses, "attention": record["effective"]["attention"]},
    )


def _script(stack: str, task: Work, argv: list[str], output: Path) -> Taken:
    """A baseline in a stack's environment; it reports the GPU's peak memory itself."""
    from sftplay.host.local import environments

    cost = measure(
        [str(environments.ensure(stack).python), *argv],
        task.project,
        PYTHONPATH="",
        HF_HUB_OFFLINE="1",
    ).checked()
    facts: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return Taken(facts["seconds"], facts.get("gpu_mb", 0.0), cost.cpu, facts)


def _random_model(task: Work, shape: dict[str, int]) -> Path:
    """A Llama with random weights in bf16 and SmolLM2's tokenizer, made once."""
    from sftplay.host.local import environments

    folder = task.project / "random"
    program = (
        "import json, sys; from transformers import LlamaConfig, LlamaForCausalLM; import torch; torch.set_default_dtype(torch.bfloat16);"
        "LlamaForCausalLM(LlamaConfig(vocab_size=49152, bos_token_id=1, eos_token_id=2, **json.loads(sys.argv[1]))).save_pretrained(sys.argv[2])"
    )
    measure(
        [str(environments.ensure("bnb").python), "-c", program, json.dumps(shape), str(folder)],
        ROOT,
    ).checked()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (task.model / name).is_file():
            (folder / name).write_bytes((task.model / name).read_bytes())
    return folder


def _report(title: str, task: Work, turns: Turns) -> list[str]:
    rows = []
    for name, taken in turns.items():
        each = statistics.median(map(seconds, taken))
        memory = statistics.median(one.peak_mb for one in taken)
        against = ratios(turns, name, "TRL, bf16", seconds)
        kernel = str(taken[0].facts.get("attention", "?"))
        rows.append(
            (
                name,
                f"{task.steps / each:.2f}",
                f"{task.tokens / each:.0f}",
                f"{memory / 1000:.1f} GB",
                kernel,
                against,
            )
        )
    return [
        show(title, ("who", "steps/s", "tokens/s", "GPU memory", "attention", "against TRL"), rows)
    ]
