from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.containers import image_names
from sftplay.host.containers.available import find, states_of


def test_an_image_of_this_very_checkout_is_present_another_one_stale() -> None:
    today = image_names.current("cpu").tag
    listed = [
        {"RepoTags": [today, "sftplay/cpu:older"], "RepoDigests": None},
        {"RepoTags": ["sftplay/bnb:0123456789ab"], "RepoDigests": []},
        {"RepoTags": None, "RepoDigests": None},
    ]
    others = {"unsloth": "missing", "export": "missing"}
    assert states_of(listed) == {"cpu": "present", "bnb": "stale", **others}
    assert set(states_of([]).values()) == {"missing"}


def test_without_an_engine_there_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    shelf = find()
    assert shelf.engine is None
    assert shelf.present == frozenset()
    assert "no container engine" in str(shelf.problem)
