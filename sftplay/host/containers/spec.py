"""The specification of our containers: one pure function from facts to frozen data, the only place
that defines it.

compose.yaml is compared with it by a test. What each line is for, and what happens without it, was
tried on a real engine: a default tmpfs is noexec (no JIT-built library loads), 64 MiB of /dev/shm
end in SIGBUS, an init is what makes signals arrive. It is long because the specification is, and
who reviews a container's rights reads them in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sftplay.call import StageCall
from sftplay.files import hash_bytes
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.mounts import CACHE, HOME, ROOT, Mount
from sftplay.host.containers.variables import ENVIRONMENT, NETWORK_VARIABLES
from sftplay.host.protocol.hub import OFFLINE
from sftplay.host.protocol.signals import GRACE
from sftplay.stages import Stage

SHM_SIZE = 8 << 30  # bytes that /dev/shm may grow to; data loader workers hand batches over in it
TMP = "rw,exec,nosuid,nodev,size=4g,mode=1777"
PIDS = 8192  # a fork beyond it fails; 4,096 is the least that is comfortable
STACK_BYTES = 64 << 20
LOG = {"max-size": "50m", "max-file": "3"}
TOKEN = "/run/secrets/hf_token"  # noqa: S105 - where the file lies, not what is in it
BOARD_PORT = 6006  # TensorBoard's inside its container


@dataclass(frozen=True)
class ContainerImage:
    """An image that is here, for a stack.

    Attributes:
        name: tag or `repository@digest` to start it by; digest: its id or repository digest,
            stamped on runs.
    """

    stack: str
    name: str
    digest: str
    lock_hash: str


@dataclass(frozen=True)
class ContainerSpec:
    """A container before it is made.

    Attributes:
        user: `uid:gid`.
        gpus: device ids to ask for; `all` for every one, None for none.
        memory: bytes; more than that and the kernel kills it, which the engine then reports.
        publish: port inside → port on 127.0.0.1.
        stdin: keeps stdin open; tty: gives it a terminal.
    """

    image: str
    name: str
    command: tuple[str, ...]
    user: str
    environment: Mapping[str, str]
    binds: tuple[Mount, ...]
    labels: Mapping[str, str]
    network: str = "none"
    entrypoint: tuple[str, ...] | None = None
    gpus: tuple[str, ...] | None = None
    memory: int | None = None
    publish: Mapping[int, int] = field(default_factory=dict)
    stdin: bool = False
    tty: bool = False
    working_dir: str = ROOT
    # under network none no other name resolves, and torch's rendezvous looks its own up
    hostname: str = "localhost"
    read_only: bool = True
    init: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    security_opt: tuple[str, ...] = ("no-new-privileges:true",)
    tmpfs: Mapping[str, str] = field(default_factory=lambda: {HOME: TMP})
    shm_size: int = SHM_SIZE
    pids_limit: int = PIDS
    stop_timeout: int = GRACE
    log_options: Mapping[str, str] = field(default_factory=lambda: dict(LOG))

    def create_arguments(self, api_version: str) -> dict[str, Any]:
        """Keyword arguments of the SDK's low-level `create_container`; the high-level one knows no
        `stop_timeout`.
        """
        from docker.types import HostConfig, LogConfig, Ulimit
        from docker.types import Mount as EngineMount

        host = HostConfig(
            version=api_version,
            # Mounts, not binds: a source that is missing is an error, not a folder that the engine
            # makes as root.
            mounts=[
                EngineMount(bind.target, bind.source, type="bind", read_only=bind.read_only)
                for bind in self.binds
            ],
            network_mode=self.network,
            read_only=self.read_only,
            init=self.init,
            cap_drop=list(self.cap_drop),
            security_opt=list(self.security_opt),
            tmpfs=dict(self.tmpfs),
            shm_size=self.shm_size,
            pids_limit=self.pids_limit,
            mem_limit=self.memory,
            ulimits=[
                Ulimit(name="stack", soft=STACK_BYTES, hard=STACK_BYTES),
                Ulimit(name="core", soft=0, hard=0),
            ],
            device_requests=_device_requests(self.gpus),
            log_config=LogConfig(type=LogConfig.types.JSON, config=dict(self.log_options)),
            port_bindings={
                inside: ("127.0.0.1", outside) for inside, outside in self.publish.items()
            },
        )
        return {
            "image": self.image,
            "name": self.name,
            "command": list(self.command),
            "entrypoint": list(self.entrypoint) if self.entrypoint else None,
            "user": self.user,
            "environment": dict(self.environment),
            "labels": dict(self.labels),
            "working_dir": self.working_dir,
            "hostname": self.hostname,
            "stop_timeout": self.stop_timeout,
            "stdin_open": self.stdin,
            "tty": self.tty,
            "ports": list(self.publish) or None,
            "host_config": host,
            "use_config_proxy": False,
        }


def stage_spec(
    call: StageCall,
    image: ContainerImage,
    identity: HostIdentity,
    *,
    nonce: str,
    named: tuple[Mount, ...] = (),
    run: str = "",
    start: int | None = None,
    device: str = "",
    token: str | None = None,
    terminal: bool = False,
    stdin: bool = False,
) -> ContainerSpec:
    """The container of one stage. Pure: the same facts, the same container.

    Args:
        nonce: random word of this start; a hand-over file has to name it.
        named: what the command line and the config name outside of data/, outputs/ and configs/
            (`container_paths.gather`).
        run: name of the run; start: number of a training's start, which has a folder of records.
        device: `cuda` asks for the GPUs; what is said here is asserted by the stage.
        token: the host's file with the hub's token, for stages with network.
        terminal: the stage talks with a person; stdin: it reads what is piped in.
    """
    stage = call.stage
    secrets = (Mount(token, TOKEN, read_only=True),) if token and stage.network else ()
    project = project_of(identity.root)
    suffix = f"{start:03d}" if start is not None else nonce[:8]
    return ContainerSpec(
        image=image.name,
        name="-".join(word for word in ("sftplay", project[:8], run, stage.name, suffix) if word),
        command=tuple(call.argv),
        user=identity.user,
        environment=_environment(
            stage, image, identity, nonce, device, has_token=bool(secrets), terminal=terminal
        ),
        binds=(*_binds(stage, identity, run if start is not None else ""), *named, *secrets),
        labels={
            "sftplay.project": project,
            "sftplay.run": run,
            "sftplay.stage": stage.name,
            "sftplay.stack": image.stack,
            "sftplay.start": "" if start is None else f"{start:03d}",
            "sftplay.nonce": nonce,
        },
        network=network_of(call),
        hostname=f"node-{call.options.get('node_rank', 0)}"
        if several_machines(call)
        else "localhost",
        publish={stage.port: int(call.all_options["port"])} if stage.port else {},
        gpus=identity.gpus if device == "cuda" else None,
        memory=identity.memory,
        stdin=terminal or stdin,
        tty=terminal,
    )


def several_machines(call: StageCall) -> bool:
    """Return whether the ranks of a training are spread over machines."""
    return int(call.options.get("nodes") or 1) > 1


def network_of(call: StageCall) -> str:
    """Name of the engine's network for a stage: none, unless it fetches, publishes a port (which no
    other network can), or its ranks talk to other machines. The host's own network is used only
    where it is asked for.
    """
    if several_machines(call):
        return str(call.options.get("network") or "bridge")
    return "bridge" if call.stage.network or call.stage.port else "none"


def project_of(root: str) -> str:
    """Label that tells this project's containers from another's: a hash of the folder's path."""
    return hash_bytes(root.encode()).removeprefix("sha256:")[:16]


def _binds(stage: Stage, identity: HostIdentity, started_run: str) -> tuple[Mount, ...]:
    """data, outputs, configs and the cache, each read-only where the stage has nothing to write.

    Raw data never is writable, nor are the launcher's records.
    """

    def bind(name: str, *, read_only: bool) -> Mount:
        return Mount(f"{identity.root}/{name}", f"{ROOT}/{name}", read_only=read_only)

    found = [bind("data", read_only=not stage.writes_data)]
    found += [bind("data/raw", read_only=True)] if stage.writes_data else []
    found += [bind("outputs", read_only=False)]  # every stage: the traceback of a bug is kept there
    found += [bind(f"outputs/{started_run}/launch", read_only=True)] if started_run else []
    found += [bind("configs", read_only=True)]
    return (
        *found,
        Mount(identity.cache, CACHE, read_only=not (stage.network or stage.writes_cache)),
    )


def _environment(
    stage: Stage,
    image: ContainerImage,
    identity: HostIdentity,
    nonce: str,
    device: str,
    *,
    has_token: bool,
    terminal: bool,
) -> dict[str, str]:
    env = {
        **ENVIRONMENT,
        "OMP_NUM_THREADS": str(identity.cores),
        **{
            key: value
            for key, value in identity.passed.items()
            if stage.network or key not in NETWORK_VARIABLES
        },
        "SFTPLAY_STACK": image.stack,
        "SFTPLAY_IMAGE_DIGEST": image.digest,
        "SFTPLAY_LOCK_HASH": image.lock_hash,
        "SFTPLAY_NONCE": nonce,
        **({} if stage.network else dict.fromkeys(OFFLINE, "1")),
        **({"SFTPLAY_DEVICE": device} if device else {}),
        **({"HF_TOKEN_PATH": TOKEN} if has_token else {}),
        **({"SFTPLAY_TERMINAL": str(identity.columns)} if identity.columns else {}),
    }
    if terminal:
        env["TERM"] = identity.terminal or "xterm"
    return env


def _device_requests(gpus: tuple[str, ...] | None) -> list[Any] | None:
    if gpus is None:
        return None
    from docker.types import DeviceRequest

    which = {"count": -1} if gpus == ("all",) else {"device_ids": list(gpus)}
    # compute and utility said here: otherwise the image's own variable decides which driver
    # libraries are brought in
    return [DeviceRequest(capabilities=[["gpu", "compute", "utility"]], **which)]
