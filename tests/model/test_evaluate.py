"""Evaluation through the real command: the numbers, the same ones every time, and what is said when
the data moved.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from sftplay.cli import parse_job
from sftplay.data.tokenizing.artifact import read_split
from sftplay.manifest import problem_with
from sftplay.stages import BY_NAME
from tests.box import Box
from tests.model.run_files import read_metrics, read_samples


@pytest.fixture(scope="module")
def evaluated(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """The trained project with its val split evaluated. Not to be changed."""
    folder = tmp_path_factory.mktemp("evaluated") / "project"
    shutil.copytree(trained_project, folder)
    ran = box.run("eval", "--run", "demo", cwd=folder)
    assert ran.code == 0, ran.err
    (folder / "out.txt").write_text(ran.out)
    return folder


def test_the_losses_are_those_of_plain_transformers(evaluated: Path, tiny_model: Path) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    expected = {"base": _plain_loss(base, evaluated)}
    expected["tuned"] = _plain_loss(
        PeftModel.from_pretrained(base, evaluated / "outputs/demo/adapter").eval(), evaluated
    )
    found = read_metrics(evaluated)["metrics"]
    for name, loss in expected.items():
        assert found["loss"][name] == pytest.approx(loss, rel=1e-4)
        assert found["perplexity"][name] == pytest.approx(math.exp(loss), rel=1e-3)
    assert found["loss"]["difference"] == pytest.approx(
        expected["tuned"] - expected["base"], rel=1e-3
    )
    assert expected["tuned"] < expected["base"] - 1


@torch.no_grad()
def _plain_loss(model: Any, project: Path) -> float:
    """Over all trained tokens of the split, each weighing the same, whatever row it stands in."""
    total, count = 0.0, 0
    for row in read_split(project / "data/tokenized/val.arrow").to_pylist():
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += float(
            torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        )
        count += int((labels != -100).sum())
    return total / count


def test_every_row_is_answered_by_both(evaluated: Path) -> None:
    samples, metrics = read_samples(evaluated), read_metrics(evaluated)
    raw = {}
    for line in (evaluated / "data/processed/val.jsonl").read_text().splitlines():
        row = json.loads(line)
        raw[row["id"]] = row["messages"]
    assert {sample["id"] for sample in samples} == set(raw) and metrics["rows"] == {"val": len(raw)}
    for sample in samples:
        assert sample["reference"] == raw[sample["id"]][-1]["content"]
        assert sample["question"] == raw[sample["id"]][-2]["content"]
        assert sample["prompt"].endswith(
            f"{raw[sample['id']][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert "<|im_end|>" not in sample["base"] + sample["tuned"]
        assert sample["ended"]["tuned"] or len(sample["tuned"]) > 0
    share = 100 * sum(sample["ended"]["tuned"] for sample in samples) / len(samples)
    assert metrics["metrics"]["ended"]["tuned"] == pytest.approx(share)
    for metric in ("exact_match", "token_f1", "rouge_l"):
        mean = sum(sample["scores"]["tuned"][metric] for sample in samples) / len(samples)
        assert metrics["metrics"][metric]["tuned"] == pytest.approx(mean)
    assert metrics["metrics"]["rouge_l"]["difference"] > 0


def test_table_and_report(evaluated: Path) -> None:
    table, report = (
        (evaluated / "out.txt").read_text(),
        (evaluated / "outputs/demo/eval/val/report.md").read_text(),
    )
    loss = read_metrics(evaluated)["metrics"]["loss"]
    for text in (table, report):
        assert (
            f"{loss['base']:.3f}" in text
            and f"{loss['difference']:+.3f}" in text
            and "chrF" in text
        )
    assert "\x1b" not in table and read_samples(evaluated)[0]["tuned"] in report
    assert problem_with(evaluated / "outputs/demo/eval/val") is None
    events = (evaluated / "outputs/demo/events.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["event"] == "evaluated"


def test_it_repeats_to_the_byte(evaluated: Path, tmp_path: Path, box: Box) -> None:
    shutil.copytree(evaluated, tmp_path / "project")
    ran = box.run("eval", "--run", "demo", cwd=tmp_path / "project")
    assert ran.code == 0, ran.err
    for name in ("metrics.json", "samples.jsonl", "report.md"):
        here, there = (
            folder / "outputs/demo/eval/val" / name for folder in (tmp_path / "project", evaluated)
        )
        assert here.read_bytes() == there.read_bytes()


def test_what_can_not_be_evaluated(trained: Path, tiny_model: Path, box: Box) -> None:
    for samples in ("0", "-3"):
        ran = box.run("eval", "--run", "demo", "--samples", samples, cwd=trained)
        assert ran.code == 2 and "--samples" in ran.err
    shutil.copytree(tiny_model, trained / "other")
    (trained / "other/config.json").write_text((tiny_model / "config.json").read_text() + " ")
    ran = box.run("eval", "--run", "demo", "--set", "model.name=./other", cwd=trained)
    assert ran.code == 76 and "not the one that was trained" in ran.err
    shutil.rmtree(trained / "data/tokenized")
    ran = box.run("eval", "--run", "demo", cwd=trained)
    assert ran.code == 66 and "inv tokenize" in ran.err


def test_before_training(trained: Path, box: Box) -> None:
    shutil.rmtree(trained / "outputs")
    ran = box.run("eval", "--config", "demo.yaml", cwd=trained)
    assert ran.code == 66 and "train it first" in ran.err
    assert not (trained / "outputs/demo").exists()


def test_a_full_run_is_measured_against_its_base(trained: Path, box: Box) -> None:
    argv = (
        "--config",
        "demo.yaml",
        "--run",
        "whole",
        "--set",
        "train.method=full",
        "--set",
        "train.learning_rate=0.001",
    )
    assert box.run("train", *argv, cwd=trained).code == 0
    for run in ("demo", "whole"):
        ran = box.run(
            "eval", "--run", run, "--samples", "4", "--set", "eval.max_new_tokens=4", cwd=trained
        )
        assert ran.code == 0, ran.err
    of_adapter, of_full = (
        read_metrics(trained, run=run)["metrics"]["loss"] for run in ("demo", "whole")
    )
    assert of_full["base"] == pytest.approx(of_adapter["base"], rel=1e-6)
    assert of_full["tuned"] < of_full["base"]


@pytest.mark.parametrize(
    "argv", [("eval", "--samples", "2"), ("infer", "--prompt", "What is 2 + 3?")]
)
def test_tokenizer_and_model_are_loaded_once(
    trained: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str]
) -> None:
    read = []
    for name, kind in {"tokenizer": PreTrainedTokenizerFast, "model": AutoModelForCausalLM}.items():
        load = kind.from_pretrained
        monkeypatch.setattr(
            kind, "from_pretrained", lambda *a, n=name, f=load, **b: read.append(n) or f(*a, **b)
        )
    monkeypatch.chdir(trained)
    stage, job = parse_job([*argv, "--run", "demo"])
    importlib.import_module(BY_NAME[stage].module).run(job)
    assert sorted(read) == ["model", "tokenizer"]


def test_samples_are_the_same_few_rows_every_time(
    evaluated: Path, tmp_path: Path, box: Box
) -> None:
    project = tmp_path / "project"
    shutil.copytree(evaluated, project)
    everything = [sample["id"] for sample in read_samples(project)]
    ran = box.run("eval", "--run", "demo", "--samples", "3", cwd=project)
    assert ran.code == 0, ran.err
    assert (
        [sample["id"] for sample in read_samples(project)]
        == everything[:3]
        == sorted(everything)[:3]
    )
    assert read_metrics(project)["rows"] == {"val": 3}
    assert "was made before" not in ran.err


def test_rows_that_were_processed_again_since_are_not_passed_over_silently(
    trained: Path, box: Box
) -> None:
    shares = ("--set", "data.val_share=0.3")
    assert box.run("process", "--config", "demo.yaml", *shares, cwd=trained).code == 0
    ran = box.run("eval", "--run", "demo", "--samples", "1", cwd=trained)
    assert ran.code == 0, ran.err
    assert "data/rendered was made before data/processed changed" in ran.err
