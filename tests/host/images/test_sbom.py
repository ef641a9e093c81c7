from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sftplay.host.images import sbom
from sftplay.host.local import environments
from tests.host.conftest import CHECKOUT


def test_the_bill_holds_the_lock_and_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "dev" not in environments.present():
        pytest.skip("the dev environment is not made: inv install --dev")
    lock = CHECKOUT / "images" / "cpu" / "requirements.lock"
    text = sbom.bill("cpu", lock)
    bill = json.loads(text)
    pins = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock.read_text(), re.MULTILINE))
    assert {part["name"]: part["version"] for part in bill["components"]} == pins
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])
    assert bill["metadata"]["component"]["name"] == "sftplay-cpu"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert sbom.bill("cpu", lock) == text
    assert str(CHECKOUT) not in text
