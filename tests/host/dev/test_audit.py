"""`inv audit`: what it reports, and that an unreachable database is no failure."""

from __future__ import annotations

import pytest

from sftplay.host.dev.audit import _vulnerable
from tests.host.conftest import CHECKOUT, RunTask


def test_a_vulnerability_is_named_with_the_version_that_fixes_it() -> None:
    packages = [
        {"name": "good", "version": "1", "vulns": []},
        {
            "name": "bad",
            "version": "1.0",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"], "description": "x"}],
        },
        {"name": "worse", "version": "3", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]},
        {"name": "skipped", "skip_reason": "not on PyPI"},
    ]
    assert _vulnerable(packages) == [
        "bad 1.0: PYSEC-1 (fixed in 1.1, 2.0)",
        "worse 3: PYSEC-2 (fixed in no version yet)",
    ]


@pytest.mark.long  # makes the environment of pip-audit
def test_a_database_that_can_not_be_reached_is_said_and_no_failure(run_task: RunTask) -> None:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    envs = {"SFTPLAY_ENVS": str(CHECKOUT / ".envs")}
    made = run_task("audit", "--lock", "uv", env=envs)
    assert made.returncode == 0, made.stderr
    done = run_task("audit", "--lock", "uv", env={**envs, **nowhere})
    assert done.returncode == 0, done.stderr
    assert "images/uv.lock: not audited: " in done.stderr
