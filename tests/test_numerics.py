"""Results of `inv check --numerics`: kept for one machine and lock, and judged by method."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.numerics import (
    MethodResult,
    Table,
    failing_here,
    precisions_failing,
    read_table,
    shown,
    table_path,
    write_table,
)

ROWS = (
    MethodResult("qlora", "fp32", 1e-7, 1e-6, 1e-5, passed=True),
    MethodResult("qlora", "bf16", gradient=0.9),
    MethodResult("dora", "bf16", error="no derivative"),
)
TABLE = Table("cpu", "cpu", "EPYC avx512_bf16", "sha256:lock", ROWS)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path))


def test_a_table_counts_for_its_machine_and_lock_only() -> None:
    assert read_table("cpu") is None
    write_table(TABLE)
    assert read_table("cpu") == TABLE
    assert failing_here("cpu", "sha256:lock", "EPYC avx512_bf16") == [*ROWS[1:]]
    assert not failing_here("cpu", "sha256:other", "EPYC avx512_bf16")
    assert not failing_here("cpu", "sha256:lock", "another processor")
    assert not failing_here("bnb", "sha256:lock", "EPYC avx512_bf16")


def test_a_damaged_table_is_none() -> None:
    write_table(TABLE)
    table_path("cpu").write_text('{"rows": [{"colour": 1}]}')
    assert read_table("cpu") is None


def test_failures_are_those_of_the_method_and_dora_has_its_own() -> None:
    assert precisions_failing(ROWS[1:], "qlora", dora=False).keys() == {"bf16"}
    assert precisions_failing(ROWS[1:], "lora", dora=True) == {"bf16": "no derivative"}
    assert not precisions_failing(ROWS[1:], "lora", dora=False)


def test_a_person_sees_which_ones_failed_and_why() -> None:
    passed, failed, raised = shown(TABLE)[1:]
    assert passed.endswith("passed") and "1.0e-05" in passed
    assert failed.endswith("FAILED") and raised.endswith("FAILED: no derivative")
