"""GGUF files in `runs.show` and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.host.runs.detail import sections
from sftplay.host.runs.exported import exported
from sftplay.host.runs.view import require_run
from sftplay.runs import Run
from tests.host.runfolders import write_run

FOUND = {"positions": 307, "top1_agreement": 0.906, "mean_kl": 0.085, "max_logit_difference": 7.0}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    made = write_run("demo")
    made.gguf.mkdir()
    return made


def write(run: Run, value: Any) -> None:
    (run.gguf / "proof.json").write_text(json.dumps(value))


def test_each_file_is_shown_with_its_proof(run: Run) -> None:
    (run.gguf / "demo-Q4_K_M.gguf").write_bytes(b"x" * 1500)
    model = {"quant": "q4_k_m", "transformers": FOUND, "llama_cpp": FOUND}
    adapter = {"quant": "f16", "llama_cpp": {**FOUND, "mean_kl": 6e-6}}
    write(run, {"files": {"demo-Q4_K_M.gguf": model, "demo-adapter-F16.gguf": adapter}})
    rows = dict(dict(sections(require_run("demo")))["exported"])
    assert rows["demo-Q4_K_M.gguf"] == (
        "1.5 kB, q4_k_m; as transformers reads it: likeliest token the same at 90.6% of 307 positions,"
        " mean KL 0.085, a logit moved by 7 at most"
    )
    assert rows["demo-adapter-F16.gguf"].startswith("missing, f16; as llama.cpp reads it: ")


@pytest.mark.parametrize(
    ("value", "word"), [({"files": {"a.gguf": 3}}, "no usable proof"), ([], "not readable")]
)
def test_a_damaged_proof_is_said(run: Run, value: Any, word: str) -> None:
    write(run, value)
    assert word in str(list(exported(run)))


def test_a_run_without_files_has_no_rows(run: Run) -> None:
    assert list(exported(run)) == []
