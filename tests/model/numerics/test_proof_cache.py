"""A proof is kept for the same machine and code only, and a cache that can't be written costs time
alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.model.numerics import proof_cache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path))
    return tmp_path


def _place(**facts: str) -> Path:
    return proof_cache.place_for({"method": "lora", **facts}, {"torch": "2"}, "cpu")


def test_a_proof_is_remembered_for_what_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    proof_cache.save_proof(_place(), {"proved": True, "oracle": "plain pass"})
    assert proof_cache.load_proof(_place()) == {"proved": True, "oracle": "plain pass"}
    assert proof_cache.load_proof(_place(method="qlora")) is None
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")  # another choice of kernels
    assert proof_cache.load_proof(_place()) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"proved": false}', "\x00"])
def test_a_damaged_file_is_no_proof(content: str) -> None:
    _place().parent.mkdir(parents=True)
    _place().write_text(content)
    assert proof_cache.load_proof(_place()) is None


def test_a_cache_that_cannot_be_written_is_passed_over(cache: Path) -> None:
    """As in a container, whose cache is read-only.

    (Root may write anywhere: a file stands where the folder should be.)
    """
    (cache / "numerics").write_text("")
    proof_cache.save_proof(_place(), {"proved": True})
    assert proof_cache.load_proof(_place()) is None
