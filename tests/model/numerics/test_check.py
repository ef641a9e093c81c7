"""The stage `numerics`: its table, and what it says where bitsandbytes' packed product is let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.model.runtime import precision
from sftplay.settings import Settings
from tests.box import Box


def _table(box: Box, folder: Path, **env: str) -> tuple[int, str, list[dict[str, object]]]:
    (folder / "demo.yaml").write_text("train: {method: lora}\n")
    ran = box.run(
        "numerics",
        "--config",
        "demo.yaml",
        cwd=folder,
        SFTPLAY_CACHE=str(folder / "cache"),
        SFTPLAY_STACK="cpu",
        **env,
    )
    rows = json.loads((folder / "cache/numerics/table-cpu.json").read_text())["rows"]
    return ran.code, ran.out + ran.err, rows


def test_every_combination_passes_here(tmp_path: Path, box: Box) -> None:
    code, said, rows = _table(box, tmp_path)
    assert code == 0, said
    assert {(row["method"], row["precision"]) for row in rows} == {
        (method, precision)
        for method in ("qlora", "lora", "dora", "full")
        for precision in ("fp32", "bf16")
    }
    assert all(row["passed"] for row in rows)
    assert "FAILED" not in said


def test_the_packed_layout_fails_and_auto_passes_over_it(
    tmp_path: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packed kernel has no derivative; on a machine without that kernel the combination raises.

    Both are failures.
    """
    code, said, rows = _table(box, tmp_path, BOX_BREAK="tests.faults:packed_layout_is_back")
    assert code == 82, said
    failed = {(row["method"], row["precision"]) for row in rows if not row["passed"]}
    assert ("qlora", "bf16") in failed
    assert not any(method != "qlora" for method, _ in failed)

    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SFTPLAY_STACK", "cpu")
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    chosen = {
        method: precision.decide_precision(
            Settings.model_validate({"train": {"method": method}}), "cpu"
        )
        for method in ("qlora", "lora")
    }
    assert chosen["lora"].value == "bf16"
    if ("qlora", "fp32") not in failed:
        assert chosen["qlora"].value == "fp32"
        assert "inv check --numerics" in chosen["qlora"].reason
