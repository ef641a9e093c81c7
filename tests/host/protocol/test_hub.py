"""The token of the hub: a private file, and only for fetch."""

from __future__ import annotations

import stat
from pathlib import Path

from sftplay.host.local.environments import Environment
from sftplay.host.local.runner import stage_environ
from sftplay.host.protocol.hub import token_file
from sftplay.stages import BY_NAME

ENV = Environment("cpu", Path("/nowhere/bin/python"), "sha256:lock", "sha256:environment")


def environ(stage: str, **base: str) -> dict[str, str]:
    return stage_environ(BY_NAME[stage], ENV, base, cores=2)


def test_fetch_may_use_the_network_and_gets_the_token_as_a_private_file() -> None:
    base = {"HF_TOKEN": "hf_secret"}
    assert "HF_HUB_OFFLINE" not in environ("fetch", **base)
    with token_file(base) as extra:
        path = Path(extra["HF_TOKEN_PATH"])
        assert path.read_text() == "hf_secret"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_token_file_of_the_persons_own_is_used_as_it_is() -> None:
    with token_file({"HF_TOKEN": "hf_secret", "HF_TOKEN_PATH": "/mine"}) as extra:
        assert extra == {}
