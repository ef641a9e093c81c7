"""Adapters, judged by vLLM's own checks. vLLM itself does not run here: it brings a torch of its own, with
CUDA.
"""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from sftplay.host.system.uv import find_uv
from tests.box import ROOT, Box

pytestmark = pytest.mark.long  # 340 MB of packages, and vLLM's config takes half a minute to import

LOCK = ROOT / "images" / "vllm-test.lock"
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
    """Python of an environment with vLLM's package above the packages of this one."""
    venv, uv = tmp_path_factory.mktemp("vllm"), str(find_uv())
    install = [uv, "pip", "install", "-q", "--require-hashes", "--no-deps", "--python", str(venv)]
    for argv in (
        [uv, "venv", "-q", "--python", "3.11", "--clear", str(venv)],
        [*install, "-r", str(LOCK)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"vLLM can't be installed: {done.stderr[-300:]}")
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "stack.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return venv / "bin" / "python"


def judged(vllm: Path, adapter: Path, rank: int) -> tuple[int, float, str]:
    """Rank and scaling as vLLM reads them, and why it refuses the adapter."""
    argv = [str(vllm), "-c", CHECK, str(adapter), str(rank)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
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
