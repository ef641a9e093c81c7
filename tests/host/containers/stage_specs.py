"""Specifications of stage containers for one caller and one image."""

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
