"""The Unsloth stack itself, where its environment is made: its failure without a GPU, and its
training on a pretended one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors import safe_open

from sftplay.handover import read_untrusted
from sftplay.parity import report
from sftplay.runs import Run
from tests.box import ROOT, Box
from tests.model.handed_over import continue_in_bnb

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def python() -> Path:
    """Python of the Unsloth environment of today's lock."""
    from sftplay.host.local import environments

    if "unsloth" not in environments.present():
        pytest.skip(
            "the unsloth environment is not made here (3 GB): inv install makes what training needs"
        )
    return environments.ensure("unsloth").python


def _run(python: Path, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("UNSLOTH", "PYTHON"))
    }
    env |= {
        "PYTHONPATH": str(ROOT),
        "SFTPLAY_STACK": "unsloth",
        "SFTPLAY_NONCE": "n" * 32,
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [str(python), *argv], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def _shapes(run: str) -> dict[str, list[int]]:
    with safe_open(f"outputs/{run}/adapter/adapter_model.safetensors", framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a dict


def test_every_module_of_the_model_layer_can_be_imported_there(python: Path) -> None:
    code = (
        "import importlib, pkgutil, sys, sftplay.data, sftplay.model\n"
        "for package in (sftplay.data, sftplay.model):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if found.name != 'sftplay.model.backends.unsloth':\n"
        "            importlib.import_module(found.name)\n"
    )
    ran = _run(python, "-c", code, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr


def test_the_data_stages_give_the_same_values_and_leave_transformers_alone(
    python: Path, project: Path, box: Box
) -> None:
    def values() -> object:
        return json.loads((project / "data" / "tokenized" / "stamp.json").read_text())["facts"][
            "values_hash"
        ]

    here = values()
    code = (
        "import sys\nfrom sftplay.cli import main\n"
        "for stage in ('process', 'render', 'tokenize'):\n    assert main([stage, '--config', 'demo.yaml']) == 0\n"
        "assert not {'transformers', 'trl', 'peft'} & set(sys.modules), 'Unsloth has to come first'\n"
    )
    for name in ("processed", "rendered", "tokenized"):
        (project / "data" / name).rename(project / "data" / f"old-{name}")
    ran = _run(python, "-c", code, cwd=project)
    assert ran.returncode == 0, ran.stderr
    assert values() == here


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU")
def test_without_a_gpu_the_real_unsloth_hands_over(python: Path, project: Path, box: Box) -> None:
    ran = _run(
        python,
        "-m",
        "sftplay",
        "train",
        "--config",
        "demo.yaml",
        "--set",
        "backend=unsloth",
        cwd=project,
    )
    assert ran.returncode == 79, ran.stderr
    folder = project / "outputs" / "demo" / "attempts" / "01-unsloth"
    found = read_untrusted(
        folder / "handover.json", run="demo", attempt="01-unsloth", nonce="n" * 32
    )
    assert found is not None and (found.reason, found.phase) == ("no_gpu", "probe")
    assert found.exception == "builtins.NotImplementedError" and "You need a GPU" in found.message
    assert "unsloth" in found.versions and "Traceback" in (folder / "probe.log").read_text()
    on = continue_in_bnb(box, project, "--set", "backend=unsloth")
    assert on.code == 0, on.err


@pytest.mark.skipif(
    any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU: tests/gpu asks it"
)
@pytest.mark.parametrize("packing", [False, True])
def test_unsloth_trains_as_bnb_does(
    python: Path, project: Path, box: Box, monkeypatch: pytest.MonkeyPatch, packing: bool
) -> None:
    """Unsloth's own forward, kernels and trainer, on two layers: same tokens, loss and gradients,
    and an adapter for plain PEFT.

    Packed, its attention has to keep rows apart; the plain run pads them.
    """
    sets = [
        "train.max_steps=2", "train.save_steps=1", "train.logging_steps=1", "lora.dropout=0",
        "train.gradient_accumulation_steps=2", "train.eval_samples=2",
    ]  # fmt: skip
    words = [word for value in sets for word in ("--set", value)]
    plain = box.run("train", "--config", "demo.yaml", "--run", "plain", *words, cwd=project)
    assert plain.code == 0, plain.err
    script = str(ROOT / "tests" / "unsloth_on_cpu.py")
    ran = _run(
        python,
        script,
        "train",
        "--config",
        "demo.yaml",
        "--run",
        "uns",
        "--set",
        "backend=unsloth",
        "--set",
        f"train.packing={str(packing).lower()}",
        *words,
        cwd=project,
    )
    assert ran.returncode == 0, ran.stderr
    monkeypatch.chdir(project)
    value = json.loads(
        report([Run("plain"), Run("uns")], {"stacks": ["cpu", "unsloth"]}).read_text()
    )
    assert value["largest_difference"]["loss"] < 1e-3
    stamp = json.loads(Path("outputs/uns/backend.json").read_text())
    assert (stamp["backend"], stamp["fallback"]) == ("unsloth", None)
    assert (
        stamp["attention"].endswith(", packed") if packing else stamp["attention"] == "sdpa/flash"
    )
    assert "unsloth" in stamp["versions"]
    configs = [
        json.loads(Path(f"outputs/{name}/adapter/adapter_config.json").read_text())
        for name in ("plain", "uns")
    ]
    for key in ("r", "lora_alpha", "use_rslora", "use_dora", "bias", "task_type", "auto_mapping"):
        assert configs[0][key] == configs[1][key], key
    assert _shapes("plain") == _shapes(
        "uns"
    )  # BnB names each layer, Unsloth the kinds of layers: the same weights
    portable = box.run(
        "eval",
        "--run",
        "uns",
        "--config",
        "demo.yaml",
        "--set",
        "train.eval_samples=2",
        "--portable",
        cwd=project,
    )
    assert portable.code == 0, portable.err
    assert (
        json.loads(Path("outputs/uns/run.json").read_text())["portable"]["trained_by"] == "unsloth"
    )


@pytest.mark.skipif(
    any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU: tests/gpu asks it"
)
def test_noise_and_two_learning_rates_reach_unsloths_own_forward(
    python: Path, project: Path
) -> None:
    """Unsloth adds a hook for NEFTune itself where the trainer's arguments ask for it; sftplay's is
    the only one, and Unsloth's forward calls it.
    """
    losses = {}
    for run, words in (
        ("without", []),
        ("noisy", ["--set", "train.neftune_noise_alpha=100", "--set", "train.loraplus_lr_ratio=4"]),
    ):
        ran = _run(
            python, str(ROOT / "tests" / "unsloth_on_cpu.py"), "train", "--config", "demo.yaml", "--run", run,
            "--set", "backend=unsloth", "--set", "train.max_steps=1", "--set", "train.eval_samples=1", *words, cwd=project,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        record = json.loads((project / "outputs" / run / "run.json").read_text())
        losses[run] = record["first_loss"]
    assert "LoRA+: learning rate 0.01 for" in ran.stderr and ", 0.04 for" in ran.stderr
    assert abs(losses["noisy"] - losses["without"]) > 0.05
