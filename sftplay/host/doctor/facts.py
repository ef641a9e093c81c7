"""Facts that the doctor judges, as they were found: a test can state any machine it likes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import SftplayError
from sftplay.host.containers.available import ImageState
from sftplay.host.system.machine import Machine
from sftplay.host.system.nvidia import Gpu
from sftplay.numerics import Table


@dataclass(frozen=True)
class PythonFacts:
    """The Python that runs sftplay, and uv.

    Attributes:
        python: version of the running one, as in "3.11.2".
        python311: whether a Python 3.11, which the stacks run on, is here without fetching one.
        venv: whether the running Python can make a .venv.
        uv: its path, None where there is none yet.
    """

    python: str
    python311: bool
    venv: bool
    uv: str | None


@dataclass(frozen=True)
class FolderFacts:
    """A folder that sftplay writes into, or the engine's.

    Attributes:
        free: bytes free on its disk. None: not known from here (the engine is in a virtual machine,
            or elsewhere).
        disk: number of its disk: needs on one disk add up.
        trouble: why it can't be written to, in the system's words; empty where it can.
        noexec: mounted so that no library in it can be loaded.
        foreign: a file in it that belongs to somebody else and that this user may not change, if
            one was found.
    """

    path: Path
    free: int | None
    disk: int = 0
    trouble: str = ""
    noexec: bool = False
    foreign: Path | None = None


@dataclass(frozen=True)
class PortFacts:
    """TensorBoard's port.

    Attributes:
        owner: who listens there, in words; empty where it is free.
        ours: it is the TensorBoard of this project.
        next_free: the port to take instead.
    """

    number: int
    owner: str = ""
    ours: bool = False
    next_free: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """A container engine that answers.

    Attributes:
        kind: docker or podman.
        rootless: it runs without root; containers then run as its own root, which is the user.
        runtimes: names of its OCI runtimes; a hint at best: some give containers the GPU without
            one of that name.
        gpu_tried: a container that asks for the GPU was started; gpu_trouble: what came of it,
            where it was not the GPU.
        compose: version of docker compose, None where there is none.
    """

    host: str
    kind: str
    version: str
    api: str
    rootless: bool
    storage: FolderFacts
    runtimes: tuple[str, ...]
    gpu_tried: bool = False
    gpu_trouble: SftplayError | None = None
    compose: str | None = None


@dataclass(frozen=True)
class StackFacts:
    """One of bnb, unsloth, cpu, export: what there is of it here, and what it requires of a GPU.

    Attributes:
        tag: of the image of this checkout.
        image: present, stale (only one of another state of the checkout is here) or missing.
        environment: made for the local runner.
        locked: its requirements.lock is here.
        cuda: CUDA version that its torch brings, None for the CPU stack.
    """

    name: str
    tag: str
    image: ImageState
    environment: bool
    locked: bool
    cuda: tuple[int, int] | None


@dataclass(frozen=True)
class MachineFacts:
    """Everything the doctor knows. Of a thing and its trouble at most one is there.

    Attributes:
        numerics: what `inv check --numerics` found on this machine with today's locks.
    """

    machine: Machine
    tools: PythonFacts
    project: FolderFacts
    cache: FolderFacts
    shm: int
    port: PortFacts
    stacks: tuple[StackFacts, ...]
    gpus: tuple[Gpu, ...] = ()
    gpu_trouble: SftplayError | None = None
    engine: EngineFacts | None = None
    engine_trouble: SftplayError | None = None
    numerics: tuple[Table, ...] = ()
