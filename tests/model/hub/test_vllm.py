"""Adapters and merged models in vLLM: its checks, and its answers by the line of the model card."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sftplay.host.system.uv import find_uv
from tests.box import ROOT, Box
from tests.model.plain_inference import QUESTIONS
from tests.model.serving.conftest import free_port
from tests.tiny import OTHER_ENDS, make_tiny_model

# 800 MB of packages; vLLM takes half a minute to import and a minute to start
pytestmark = pytest.mark.long

LOCK = ROOT / "images" / "vllm-test.lock"
OFFLINE = {
    "VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": "",
}  # fmt: skip
CHECK = """
import json, sys
from vllm.config.lora import LoRAConfig
from vllm.lora.peft_helper import PEFTHelper
helper = PEFTHelper.from_local_dir(sys.argv[1], max_position_embeddings=512)
try:
    helper.validate_legal(LoRAConfig(max_lora_rank=int(sys.argv[2]), max_loras=1))
    refused = ""
except ValueError as error:
    refused = str(error)
print(json.dumps([helper.r, helper.vllm_lora_scaling_factor, refused]))
"""


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with vLLM for the CPU."""
    venv, uv = tmp_path_factory.mktemp("vllm"), str(find_uv())
    install = [uv, "pip", "install", "-q", "--require-hashes", "--python", str(venv)]
    wheels = os.environ.get("PIP_FIND_LINKS")
    torch = ["--find-links", wheels] if wheels else ["--torch-backend", "cpu"]
    for argv in (
        [uv, "venv", "-q", "--python", "3.11", "--clear", str(venv)],
        [*install, *torch, "--no-deps", "-r", str(LOCK)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"vLLM can't be installed: {done.stderr[-300:]}")
    return venv / "bin" / "python"


def judged(vllm: Path, adapter: Path, rank: int) -> tuple[int, float, str]:
    """Rank and scaling as vLLM reads them, and why it refuses the adapter."""
    argv = [str(vllm), "-c", CHECK, str(adapter), str(rank)]
    env = {**os.environ, **OFFLINE}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    r, scaling, refused = json.loads(done.stdout.splitlines()[-1])
    return r, scaling, refused


def test_an_adapter_is_accepted_by_the_line_of_its_card(trained: Path, vllm: Path) -> None:
    adapter = trained / "outputs/demo/adapter"
    (rank,) = re.findall(r"--max-lora-rank (\d+)", (adapter / "README.md").read_text())
    assert judged(vllm, adapter, int(rank)) == (4, 2.0, "")  # r 4, alpha 8
    refused = judged(vllm, adapter, 1)[2]  # the smallest that it takes
    assert "LoRA rank 4 is greater than max_lora_rank 1" in refused


@pytest.mark.parametrize(
    ("kind", "scaling", "said"), [("rslora", 4.0, ""), ("dora", 2.0, "does not yet support DoRA")]
)
def test_kinds_of_adapters(
    trained: Path, vllm: Path, box: Box, kind: str, scaling: float, said: str
) -> None:
    """rsLoRA's scaling is alpha / sqrt(r). What vLLM refuses, the card says too."""
    short = ("--set", "train.max_steps=1")
    argv = ("train", "--config", "demo.yaml", "--run", kind, "--set", f"lora.{kind}=true", *short)
    ran = box.run(*argv, cwd=trained)
    assert ran.code == 0, ran.err
    adapter = trained / "outputs" / kind / "adapter"
    found = judged(vllm, adapter, 8)
    assert found[:2] == (4, pytest.approx(scaling)) and said in found[2]
    card = (adapter / "README.md").read_text()
    assert bool(found[2]) == ("vLLM does not load DoRA" in card) == ("--max-lora-rank" not in card)


@contextmanager
def served(vllm: Path, line: str, folder: Path, log: Path) -> Iterator[str]:
    """The server that a card's line starts, on a CPU; its address."""
    begun, model, *words = shlex.split(line)[1:]
    assert begun == "serve"
    # The command `vllm` itself asks for the version of a package that is called vllm.
    server = [str(vllm), "-m", "vllm.entrypoints.openai.api_server", "--model", model, *words]
    address = ("127.0.0.1", free_port())
    more = [
        "--host",
        address[0],
        "--port",
        str(address[1]),
        "--dtype",
        "float32",
        "--enforce-eager",
    ]
    with log.open("wb") as out:
        child = subprocess.Popen(
            [*server, *more], cwd=folder, env={**os.environ, **OFFLINE}, stdout=out, stderr=out
        )
    try:
        end = time.monotonic() + 400
        while b"Application startup complete" not in log.read_bytes():
            assert child.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://{address[0]}:{address[1]}/v1/chat/completions"
    finally:
        child.terminate()
        child.wait()


def answer(url: str, model: str, question: str) -> tuple[str, str]:
    """A greedy answer, and why it ended."""
    body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 24}
    body["messages"] = [{"role": "user", "content": question}]
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        (choice,) = json.load(response)["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def _whole(text: str) -> str:
    """The text without half a character at its end, which vLLM leaves out of an answer cut off."""
    return text.strip().rstrip("\ufffd")


def test_it_answers_by_the_line_of_the_card(
    project: Path, vllm: Path, tmp_path: Path, box: Box
) -> None:
    """As `infer` does, by the run's template and end token: adapter, base and merged model."""
    base = make_tiny_model(tmp_path / "base", width=128)  # vLLM takes heads of 32 and more
    (project / "ends.jinja").write_text(OTHER_ENDS)
    values = {"model.name": base, "data.chat_template": "ends.jinja", "data.eot": "<|endoftext|>",
              "train.max_steps": 40, "train.learning_rate": 0.02, "infer.max_new_tokens": 24}  # fmt: skip
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    for argv in (
        ("train", "--config", "demo.yaml", "--run", "ends", *words),
        ("merge", "--run", "ends", "--dtype", "fp32"),
    ):
        ran = box.run(*argv, cwd=project)
        assert ran.code == 0, ran.err
    run = project / "outputs/ends"

    def expected(*more: str) -> list[str]:
        asked = [("infer", "--run", "ends", "--prompt", each, *more) for each in QUESTIONS[:4]]
        return [_whole(box.run(*argv, cwd=project).out) for argv in asked]

    (line,) = re.findall(r"^vllm serve .*$", (run / "adapter/README.md").read_text(), re.MULTILINE)
    line = line.replace("FOLDER", str(run / "adapter")).replace(
        f"serve {base.name}", f"serve {base}"
    )
    tuned, untuned = expected(), expected("--base")
    assert tuned != untuned
    with served(vllm, line, project, tmp_path / "adapter.log") as url:
        found = [answer(url, "ends", each) for each in QUESTIONS[:4]]
        assert [_whole(text) for text, _ in found] == tuned
        assert "stop" in {why for _, why in found}, "or the end token would not be tried"
        others = [_whole(answer(url, str(base), each)[0]) for each in QUESTIONS[:4]]
        assert others == untuned
    (line,) = re.findall(r"^vllm serve .*$", (run / "merged/README.md").read_text(), re.MULTILINE)
    with served(
        vllm, line.replace("FOLDER", str(run / "merged")), project, tmp_path / "log"
    ) as url:
        found = [answer(url, str(run / "merged"), each) for each in QUESTIONS[:4]]
        assert [_whole(text) for text, _ in found] == tuned
