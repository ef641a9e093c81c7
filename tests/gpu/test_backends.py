"""Both backends for real: 50 QLoRA steps each, resume, parity, portability, merge, and what they
cost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import RefusedError
from sftplay.parity import report
from sftplay.runs import Run
from tests.gpu.conftest import Stage

BACKENDS = ("bnb", "unsloth")
pytestmark = pytest.mark.gpu


def _train(stage: Stage, project: Path, backend: str, name: str, *more: str) -> dict[str, Any]:
    ran = stage(
        backend,
        "train",
        "--config",
        "gpu.yaml",
        "--run",
        name,
        "--set",
        f"backend={backend}",
        *more,
        cwd=project,
    )
    assert ran.code == 0, ran.text[-3000:]
    value: dict[str, Any] = json.loads((project / "outputs" / name / "run.json").read_text())
    return value


@pytest.fixture(scope="module")
def trained(stage: Stage, project: Path) -> dict[str, dict[str, Any]]:
    """run.json of one run of each backend."""
    return {backend: _train(stage, project, backend, f"first-{backend}") for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_learns_in_its_own_backend(
    trained: dict[str, dict[str, Any]], project: Path, backend: str
) -> None:
    record = trained[backend]
    stamp = json.loads((project / "outputs" / f"first-{backend}" / "backend.json").read_text())
    assert (stamp["backend"], stamp["device"], stamp["fallback"]) == (backend, "cuda", None)
    assert record["steps"] == 50 and record["last_loss"] < record["first_loss"]
    assert record["effective"]["trainable_dtype"] == ["torch.float32"]
    assert stamp["attention"] in ("sdpa/flash", "sdpa/cudnn"), (
        "the padding mask keeps attention from its fast kernel"
    )
    print(
        f"\n{backend}: {record['tokens_per_second']} tokens/s, {record['peak_memory_bytes'] / 1e9:.2f} GB, {stamp['attention']}"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stopped_run_goes_on(stage: Stage, project: Path, backend: str) -> None:
    name = f"stopped-{backend}"
    _train(
        stage, project, backend, name, "--set", "train.max_steps=10", "--set", "train.save_steps=10"
    )
    record = _train(
        stage,
        project,
        backend,
        name,
        "--set",
        "train.max_steps=20",
        "--set",
        "train.save_steps=10",
        "--resume",
    )
    assert record["steps"] == 20
    events = [
        json.loads(line)
        for line in (project / "outputs" / name / "events.jsonl").read_text().splitlines()
    ]
    assert [event["event"] for event in events] == ["started", "finished", "resumed", "finished"]
    assert events[2]["checkpoint"] == "checkpoint-10"


def test_both_train_alike(stage: Stage, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in BACKENDS:
        _train(
            stage,
            project,
            backend,
            f"alike-{backend}",
            "--set",
            "train.max_steps=10",
            "--set",
            "lora.dropout=0",
        )
    monkeypatch.chdir(project)
    value = json.loads(
        report(
            [Run(f"alike-{backend}") for backend in BACKENDS], {"stacks": list(BACKENDS)}
        ).read_text()
    )
    print(f"\nparity: {value['largest_difference']}")


def test_a_wrong_scale_is_found(
    stage: Stage, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = (
        "--set",
        "train.max_steps=3",
        "--set",
        "train.batch_size=1",
        "--set",
        "train.gradient_accumulation_steps=4",
    )
    _train(stage, project, "bnb", "scale-right", *split)
    code = "import sys; from tests.faults import wrong_accumulation_scale as f; f(); from sftplay.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = ("train", "--config", "gpu.yaml", "--run", "scale-wrong", *split)
    ran = stage("bnb", *argv, cwd=project, python=("-c", code))
    assert ran.code == 0, ran.text[-3000:]
    monkeypatch.chdir(project)
    with pytest.raises(RefusedError, match="do not train alike"):
        report([Run("scale-right"), Run("scale-wrong")], {})


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_adapter_is_portable_and_merges(
    trained: dict[str, dict[str, Any]], stage: Stage, project: Path, backend: str
) -> None:
    name = f"first-{backend}"
    assert trained[backend]["steps"] == 50
    for words in (["eval", "--portable"], ["merge"]):
        ran = stage("bnb", words[0], "--run", name, *words[1:], cwd=project)
        assert ran.code == 0, ran.text[-3000:]
    record = json.loads((project / "outputs" / name / "run.json").read_text())
    assert record["portable"]["trained_by"] == backend
    assert (project / "outputs" / name / "merged" / "config.json").is_file()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_unsloth_trains_by_the_other_methods_too(stage: Stage, project: Path, method: str) -> None:
    more = (
        "--set",
        f"train.method={method}",
        "--set",
        "train.max_steps=5",
        "--set",
        "train.learning_rate=1e-5",
    )
    record = _train(stage, project, "unsloth", f"method-{method}", *more)
    assert record["backend"] == "unsloth" and record["effective"]["trainable_dtype"] == [
        "torch.float32"
    ]


def test_the_probe_is_remembered(
    trained: dict[str, dict[str, Any]], stage: Stage, project: Path
) -> None:
    assert trained["unsloth"]["backend"] == "unsloth"
    argv = (
        "train",
        "--config",
        "gpu.yaml",
        "--run",
        "again",
        "--set",
        "backend=unsloth",
        "--set",
        "train.max_steps=1",
    )
    ran = stage("unsloth", *argv, cwd=project)
    assert ran.code == 0 and "Unsloth was tried here before" in ran.text, ran.text[-3000:]


def test_a_model_that_unsloth_does_not_know_is_handed_over(stage: Stage, project: Path) -> None:
    """A KeyError or RuntimeError of Unsloth's loader, whatever the release: the class is stamped,
    the exit code is 79.
    """
    code = (
        "from transformers import GPTNeoConfig, GPTNeoForCausalLM\n"
        "config = GPTNeoConfig(vocab_size=49152, hidden_size=64, num_layers=2, num_heads=2, attention_types=[[['global'], 2]],"
        " max_position_embeddings=512)\n"
        "GPTNeoForCausalLM(config).save_pretrained('neo')\n"
        "import shutil, glob\n"
        "from sftplay.config import load_config\n"
        "from sftplay.places import find_model\n"
        "folder = find_model(load_config('gpu.yaml'))\n"
        "[shutil.copy(f, 'neo') for f in glob.glob(str(folder) + '/token*')]\n"
    )
    assert stage("bnb", cwd=project, python=("-c", code)).code == 0
    argv = (
        "train",
        "--config",
        "gpu.yaml",
        "--run",
        "neo",
        "--set",
        "backend=unsloth",
        "--set",
        "model.name=./neo",
        "--set",
        "data.suffix=neo",
        "--set",
        "train.max_steps=2",
        "--set",
        "model.max_length=512",
    )
    ran = stage("unsloth", *argv, cwd=project)
    handover = Path(project / "outputs/neo/attempts/01-unsloth/handover.json")
    assert (ran.code == 79) == handover.is_file(), ran.text[-3000:]
    assert ran.code in (0, 79), ran.text[-3000:]
