"""Variables of the user's environment in containers: the named ones only."""

from __future__ import annotations

from sftplay.host.containers.host_identity import HostIdentity
from tests.host.containers.stage_specs import CALLER, spec


def test_of_the_persons_environment_only_the_named_variables_get_in() -> None:
    rich = HostIdentity(
        **{**vars(CALLER), "passed": {"HTTPS_PROXY": "http://proxy", "NO_COLOR": "1"}}
    )
    assert "HTTPS_PROXY" not in spec("train", caller=rich).environment
    assert spec("fetch", caller=rich).environment["HTTPS_PROXY"] == "http://proxy"
    assert spec("train", caller=rich).environment["NO_COLOR"] == "1"
