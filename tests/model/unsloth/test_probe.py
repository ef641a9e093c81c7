"""The probe: what the end of its process means, what is remembered, and the real one where Unsloth
is not installed.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import MachineError
from sftplay.model.unsloth import probe as probing
from sftplay.model.unsloth.probe import Verdict, _judge, probe

NO_GPU = {
    "failure": {
        "types": ["builtins.NotImplementedError", "builtins.RuntimeError"],
        "message": "Unsloth cannot find any torch accelerator? You need a GPU.",
        "modules": ["sftplay.model.backends.unsloth", "unsloth_zoo.device_type"],
        "errno": None,
    }
}


def judge(tmp_path: Path, code: int | None, report: dict[str, Any]) -> Verdict:
    log = tmp_path / "probe.log"
    log.write_text("the last words")
    return _judge(code, report, log=log, limit=5)


def test_a_pass_that_ran_is_a_good_verdict(tmp_path: Path) -> None:
    assert judge(tmp_path, 0, {"attention": "sdpa/flash"}) == Verdict(None, attention="sdpa/flash")


def test_its_exception_is_classified(tmp_path: Path) -> None:
    found = judge(tmp_path, 1, NO_GPU)
    assert (found.reason, found.exception) == (
        "no_gpu",
        "builtins.NotImplementedError",
    ) and "You need a GPU" in found.message


@pytest.mark.parametrize(
    "signum", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE]
)
def test_native_code_that_crashes_is_a_crash(tmp_path: Path, signum: signal.Signals) -> None:
    found = judge(tmp_path, -signum, {})
    assert (found.reason, found.exception) == (
        "crash",
        signum.name,
    ) and "the last words" in found.message


@pytest.mark.parametrize(
    "report", [{}, {"failure": {}}, {"failure": {"types": 1}}, {"attention": ""}]
)
def test_an_end_without_a_report_is_a_crash(tmp_path: Path, report: dict[str, Any]) -> None:
    assert judge(tmp_path, 0, report).reason == "crash"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_probe_that_somebody_ended_hands_nothing_over(
    tmp_path: Path, signum: signal.Signals
) -> None:
    with pytest.raises(MachineError, match=signum.name):
        judge(tmp_path, -signum, {})


def test_out_of_memory_in_the_probe_hands_nothing_over(tmp_path: Path) -> None:
    failure = {
        **NO_GPU["failure"],
        "types": ["torch.OutOfMemoryError"],
        "message": "CUDA out of memory.",
    }
    with pytest.raises(MachineError, match="out of memory"):
        judge(tmp_path, 1, {"failure": failure})


def _interpreter(folder: Path, script: str) -> str:
    """Something in the place of Python: the probe's process as the machine could make it end."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_segfault_ends_the_probe_and_not_the_stage(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", _interpreter(elsewhere, "echo loading; kill -SEGV $$"))
    found = probe("bf16", log=elsewhere / "probe.log")
    assert found.reason == "crash" and "loading" in found.message
    assert not list(
        elsewhere.rglob("probes/*")
    )  # a failure is asked for again: tomorrow's driver may do it


def test_a_probe_that_hangs_is_ended(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", _interpreter(elsewhere, "echo $$ > pid; exec sleep 600"))
    monkeypatch.chdir(elsewhere)
    found = probe("bf16", log=elsewhere / "probe.log", limit=1)
    assert found.reason == "unknown" and "did not end within 1 s" in found.message
    with pytest.raises(ProcessLookupError):
        os.kill(int((elsewhere / "pid").read_text()), 0)


def test_a_good_verdict_is_remembered_for_this_precision(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """echo x >> count; echo '{"attention": "sdpa/flash"}' > "$4\""""
    monkeypatch.setattr(sys, "executable", _interpreter(elsewhere, script))
    monkeypatch.chdir(elsewhere)
    for precision in ("bf16", "bf16", "fp16"):
        assert probe(precision, log=elsewhere / "probe.log").attention == "sdpa/flash"
    assert (elsewhere / "count").read_text() == "x\nx\n"
    monkeypatch.setenv("SFTPLAY_IMAGE_DIGEST", "sha256:other")
    probe("bf16", log=elsewhere / "probe.log")
    assert (elsewhere / "count").read_text() == "x\nx\nx\n"
    for path in (elsewhere / "cache" / "probes").iterdir():
        path.write_text("{")
    probe("bf16", log=elsewhere / "probe.log")
    assert (elsewhere / "count").read_text() == "x\nx\nx\nx\n"


@pytest.mark.skipif("unsloth" in sys.modules, reason="this process has Unsloth")
def test_where_unsloth_is_not_installed_the_probe_says_so(elsewhere: Path) -> None:
    found = probe("fp32", log=elsewhere / "probe.log")
    assert found.reason == "import" and "No module named 'unsloth'" in found.message
    assert "ModuleNotFoundError" in (elsewhere / "probe.log").read_text()
    assert json.dumps(found.message)


def test_the_versions_are_of_what_is_installed() -> None:
    assert set(probing.versions()) <= set(probing.PROBED_VERSIONS) and "torch" in probing.versions()
