"""Variables of the user's environment in containers: the named ones only."""

from __future__ import annotations

from typing import Any

from sftplay.cli import parse_call
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.spec import ContainerImage, ContainerSpec, stage_spec

CALLER = HostIdentity(
    root="/home/ada/sft",
    cache="/home/ada/.cache/sftplay",
    user="1000:1000",
    because="your own",
    cores=4,
    memory=8 << 30,
)


IMAGE = ContainerImage("cpu", "sftplay/cpu:abc", "sha256:1", "sha256:2")


NONCE = "0123456789abcdef"


def spec(stage: str, **given: Any) -> ContainerSpec:
    return stage_spec(
        parse_call([stage, *given.pop("options", ())]),
        IMAGE,
        given.pop("caller", CALLER),
        nonce=NONCE,
        **given,
    )


def test_of_the_persons_environment_only_the_named_variables_get_in() -> None:
    rich = HostIdentity(
        **{**vars(CALLER), "passed": {"HTTPS_PROXY": "http://proxy", "NO_COLOR": "1"}}
    )
    assert "HTTPS_PROXY" not in spec("train", caller=rich).environment
    assert spec("fetch", caller=rich).environment["HTTPS_PROXY"] == "http://proxy"
    assert spec("train", caller=rich).environment["NO_COLOR"] == "1"
