"""Rights of every container of ours: the CIS rules that a specification can break, and the needs of
stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sftplay.call import StageCall
from sftplay.errors import UsageError
from sftplay.host.containers.host_identity import HostIdentity, memory_limit
from sftplay.host.containers.mounts import Mount
from sftplay.host.containers.spec import ContainerSpec, stage_spec
from sftplay.host.containers.tensorboard import board_spec
from sftplay.stages import BY_NAME, STAGES
from tests.host.containers.stage_specs import CALLER, IMAGE, NONCE, spec

SPECS = [pytest.param(spec(stage.name, device="cuda"), id=stage.name) for stage in STAGES]
SPECS.append(
    pytest.param(board_spec("outputs", 6006, IMAGE, CALLER, nonce=NONCE), id="tensorboard")
)


def created(container: ContainerSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """The engine's own words for it: (container, host config)."""
    made = container.create_arguments("1.41")
    return made, made["host_config"]


RULES: dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]] = {
    "4.1 runs as the caller": lambda made, host: made["user"] == "1000:1000",
    "5.3 no capabilities": lambda made, host: host["CapDrop"] == ["ALL"] and not host.get("CapAdd"),
    "5.4 not privileged": lambda made, host: not host.get("Privileged"),
    "5.5 no folder of the host's system": lambda made, host: all(m["Source"].startswith("/home/ada/") for m in host["Mounts"]),
    "5.9 not the host's network": lambda made, host: host["NetworkMode"] in ("none", "bridge"),
    "5.10 memory is limited": lambda made, host: host["Memory"] == 8 << 30,
    "5.12 read-only root": lambda made, host: host["ReadonlyRootfs"] is True,
    "5.13 ports on 127.0.0.1": lambda made, host: all(p["HostIp"] == "127.0.0.1" for ports in (host.get("PortBindings") or {}).values() for p in ports),
    "5.14 never restarted": lambda made, host: "RestartPolicy" not in host,
    "5.15-5.17 own pid, ipc, devices": lambda made, host: not any(host.get(k) for k in ("PidMode", "IpcMode", "Devices", "UsernsMode")),
    "5.18 limits": lambda made, host: {u["Name"] for u in host["Ulimits"]} == {"stack", "core"},
    "5.25 no new privileges": lambda made, host: host["SecurityOpt"] == ["no-new-privileges:true"],
    "5.28 processes are limited": lambda made, host: 4096 <= host["PidsLimit"] <= 65536,
    "5.31 no engine socket": lambda made, host: "docker.sock" not in repr(made),
    "an init": lambda made, host: host["Init"] is True,
    "not removed before its end is read": lambda made, host: not host.get("AutoRemove"),
    "time for a checkpoint": lambda made, host: made["stop_timeout"] == 120,
    "logs do not fill the disk": lambda made, host: host["LogConfig"]["Config"] == {"max-size": "50m", "max-file": "3"},
    "found by label": lambda made, host: made["labels"]["sftplay.nonce"] == NONCE and len(made["labels"]["sftplay.project"]) == 16,
    "a missing source is an error": lambda made, host: not host.get("Binds"),
    "a name for itself": lambda made, host: made["hostname"] == "localhost",
    "scratch that runs compiled code": lambda made, host: "exec" in host["Tmpfs"]["/tmp"].split(","),
    "room in /dev/shm": lambda made, host: host["ShmSize"] == 8 << 30,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("container", SPECS)
def test_every_container_keeps_the_rule(container: ContainerSpec, rule: str) -> None:
    assert RULES[rule](*created(container))


def mounts(container: ContainerSpec) -> dict[str, bool]:
    """target → whether it can be written."""
    return {bind.target: not bind.read_only for bind in container.binds}


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_only_fetch_and_push_are_online_and_only_numerics_may_fill_the_cache_as_well(
    stage: str,
) -> None:
    made = spec(stage)
    assert made.network == ("bridge" if stage in ("fetch", "push", "serve") else "none")
    assert mounts(made)["/cache"] == (stage in ("fetch", "push", "numerics"))
    assert (made.environment.get("HF_HUB_OFFLINE") == "1") == (stage not in ("fetch", "push"))


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_data_is_writable_for_the_stages_that_make_it_and_raw_data_never(stage: str) -> None:
    found = mounts(spec(stage))
    makes = stage in ("process", "style", "render", "tokenize", "train")
    assert found["/sft/data"] == makes
    assert found.get("/sft/data/raw", False) is False
    assert ("/sft/data/raw" in found) == makes
    assert found["/sft/configs"] is False


def test_a_training_reads_the_launchers_records_and_can_not_write_them() -> None:
    made = spec("train", run="demo", start=3)
    assert mounts(made)["/sft/outputs"] is True
    assert mounts(made)["/sft/outputs/demo/launch"] is False
    assert made.labels["sftplay.start"] == "003"
    assert made.name.endswith("-demo-train-003")
    assert made.environment["SFTPLAY_NONCE"] == NONCE


def test_the_gpu_is_asked_for_only_where_it_was_decided() -> None:
    assert created(spec("train", device="cuda"))[1]["DeviceRequests"] == [
        {
            "Driver": "",
            "Count": -1,
            "DeviceIDs": [],
            "Capabilities": [["gpu", "compute", "utility"]],
            "Options": {},
        }
    ]
    assert not created(spec("train", device="cpu"))[1].get("DeviceRequests")
    assert spec("train", device="cpu").environment["SFTPLAY_DEVICE"] == "cpu"
    assert "SFTPLAY_DEVICE" not in spec("process").environment


def test_chosen_gpus_are_asked_for_by_their_number() -> None:
    two = HostIdentity(**{**vars(CALLER), "gpus": ("1", "3")})
    request = created(spec("train", device="cuda", caller=two))[1]["DeviceRequests"][0]
    assert (request["DeviceIDs"], request["Count"]) == (["1", "3"], 0)


def test_the_token_is_a_file_and_only_for_fetch() -> None:
    fetch = spec("fetch", token="/home/ada/tmp/token")
    assert Mount("/home/ada/tmp/token", "/run/secrets/hf_token", read_only=True) in fetch.binds
    assert fetch.environment["HF_TOKEN_PATH"] == "/run/secrets/hf_token"
    train = spec("train", token="/home/ada/tmp/token")
    assert "HF_TOKEN_PATH" not in train.environment
    assert "/run/secrets/hf_token" not in mounts(train)


def test_a_chat_gets_a_terminal_and_a_pipe_gets_stdin() -> None:
    assert (spec("infer", terminal=True).tty, spec("infer", terminal=True).stdin) == (True, True)
    assert (spec("infer", stdin=True).tty, spec("infer", stdin=True).stdin) == (False, True)
    assert (spec("infer").tty, spec("infer").stdin) == (False, False)


def test_tensorboard_reads_and_nothing_else() -> None:
    board = board_spec("outputs/demo", 7007, IMAGE, CALLER, nonce=NONCE)
    assert mounts(board) == {"/sft/outputs": False}
    assert created(board)[1]["PortBindings"] == {
        "6006/tcp": [{"HostIp": "127.0.0.1", "HostPort": "7007"}]
    }


def test_memory() -> None:
    assert memory_limit(None, 100) == 95
    assert memory_limit("8g", 100) == 8 << 30
    assert memory_limit("1024", 100) == 1024
    with pytest.raises(UsageError, match="eight"):
        memory_limit("eight", 100)


@pytest.mark.parametrize(
    ("options", "network", "hostname"),
    [
        ({}, "none", "localhost"),
        ({"nodes": 2, "node_rank": 1}, "bridge", "node-1"),
        ({"nodes": 2, "network": "lab"}, "lab", "node-0"),
    ],
)
def test_ranks_of_several_machines_get_a_network_and_a_name(
    options: dict[str, Any], network: str, hostname: str
) -> None:
    call = StageCall(BY_NAME["train"], options=options)
    made = stage_spec(call, IMAGE, CALLER, nonce=NONCE)
    assert (made.network, made.hostname) == (network, hostname)


def test_a_server_is_published_on_this_machine_only() -> None:
    made = spec("serve", options=["--port", "8123"])
    assert made.network == "bridge" and dict(made.publish) == {8000: 8123}
    bindings = made.create_arguments("1.41")["host_config"]["PortBindings"]
    assert bindings == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8123"}]}
    assert "HF_HUB_OFFLINE" in made.environment
