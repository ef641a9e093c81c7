"""Code that only a GPU would run is executed on a pretended one, or docs/gpu.md lists it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sftplay.host.system.machine import read_machine
from tests import cuda_sites
from tests.cuda_sites import Site, find_sites, sites_in, watching

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import torch
from sftplay import console

def decide(device):
    if device != "cuda":
        return 1
    return torch.cuda.device_count() if device == "cuda" else 0
"""


def listed() -> set[str]:
    """What docs/gpu.md says has never been executed."""
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    section = page.partition("## Code that has never been executed")[2].partition("\n## ")[0]
    return set(re.findall(r"^- `([^`]+)`", section, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def executed(tokenized_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Exit codes of train, eval and numerics on a pretended GPU, and the sites that they executed."""
    if read_machine().has_gpu:
        pytest.skip("this machine has a GPU: inv test --args='-m gpu'")
    folder = tmp_path_factory.mktemp("pretended")
    project = folder / "project"
    subprocess.run(["cp", "-r", str(tokenized_project), str(project)], check=True)
    on_gpu = ["--set", "train.method=qlora", "--set", "train.device=cuda"]
    common = ["--config", "demo.yaml", *on_gpu]
    short = ["--set", "train.batch_size=auto", "--set", "train.max_steps=2"]
    calls = [
        ["train", *common, *short],
        ["eval", *common, "--samples=3", "--set", "eval.max_new_tokens=3"],
        ["numerics", *common],
    ]
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests/gpu_on_cpu.py"), str(folder / "out"), json.dumps(calls)],
        cwd=project,
        env={
            **os.environ,
            "SFTPLAY_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "out").is_file(), ran.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "out").read_text())
    stamp = json.loads((project / "outputs/demo/backend.json").read_text())
    record = json.loads((project / "outputs/demo/run.json").read_text())
    return {**found, "stamp": stamp, "record": record, "said": ran.stderr}


def test_a_training_and_its_evaluation_run_through_on_a_pretended_gpu(
    executed: dict[str, Any],
) -> None:
    train, evaluate, numerics = executed["codes"]
    assert (train, evaluate) == (0, 0), executed["said"][-3000:]
    assert numerics in (0, 82)  # fp16 needs real kernels
    assert (executed["stamp"]["device"], executed["stamp"]["quantization"]) == ("cuda", "nf4")
    # of the pretended 60 GiB that are free, and of the 1 GiB that a row took
    batch = executed["record"]["effective"]["batch"]
    assert "16 × 1" in batch and "auto: 64.4 GB free, 1.1 GB for the longest row" in batch, batch


def test_each_site_is_executed_or_listed_as_never_executed(executed: dict[str, Any]) -> None:
    ran = set(executed["sites"])
    never = {
        site.name
        for site in find_sites()
        if f"{site.name}:{site.line}:{site.comparison}" not in ran
    }
    assert never == listed()


@pytest.fixture
def decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Site], Any]:
    """A file with sites, and its function."""
    monkeypatch.setattr(cuda_sites, "ROOT", tmp_path / "sftplay" / "model")
    path = tmp_path / "sftplay" / "model" / "code.py"
    path.parent.mkdir(parents=True)
    path.write_text(CODE)
    names: dict[str, Any] = {}
    exec(compile(CODE, str(path), "exec"), names)
    return list(sites_in(path)), names["decide"]


def test_sites_are_found_by_their_syntax(decide: tuple[list[Site], Any]) -> None:
    sites, _ = decide
    assert {site.name for site in sites} == {"sftplay/model/code.py: decide"}
    comparisons = ["", "device == 'cuda'", "not (device != 'cuda')"]
    assert sorted(site.comparison for site in sites) == comparisons


@pytest.mark.parametrize(("device", "count"), [("cpu", 0), ("cuda", 3)])
def test_a_site_counts_when_it_decides_for_the_gpu(
    device: str, count: int, decide: tuple[list[Site], Any]
) -> None:
    sites, function = decide
    executed: set[Site] = set()
    with watching(sites, executed):
        function(device)
    assert len(executed) == count
