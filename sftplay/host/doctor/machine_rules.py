"""Rules about the machine itself: system, Python, GPU, disks, shared memory, folders, port.

Pure functions of the facts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from sftplay.files import human_size
from sftplay.host.doctor.facts import FolderFacts, MachineFacts, StackFacts
from sftplay.host.doctor.findings import MachineFinding
from sftplay.host.system import requirements
from sftplay.host.system.nvidia import Gpu

ON_CPU = "--set train.device=cpu"


def system(facts: MachineFacts) -> Iterator[MachineFinding]:
    """Linux on x86-64, and how big the machine is."""
    here = facts.machine
    if (here.system, here.arch) != ("Linux", "x86_64"):
        said = f"sftplay runs on Linux x86-64 (Windows: WSL 2); this is {here.system} {here.arch}"
        yield MachineFinding("error", "machine", said, "use a Linux machine, or WSL 2 on Windows")
    else:
        yield MachineFinding(
            "ok",
            "machine",
            f"Linux x86-64, {here.cores} cores, {human_size(here.memory)} of memory",
        )


def python(facts: MachineFacts) -> Iterator[MachineFinding]:
    """The Python and uv that environments of the local runner are made with."""
    tools = facts.tools
    if tools.uv is None:
        yield MachineFinding(
            "warning", "python", f"Python {tools.python}, and no uv", "python3 tasks.py install"
        )
    elif not tools.venv:
        major_minor = ".".join(tools.python.split(".")[:2])
        said = f"Python {tools.python} has no venv module"
        yield MachineFinding("error", "python", said, f"sudo apt install python{major_minor}-venv")
    elif not tools.python311:
        said = (
            f"Python {tools.python}; the stacks of the local runner run on 3.11, which is missing"
        )
        yield MachineFinding(
            "warning",
            "python",
            said,
            f"sudo apt install python3.11-venv, or: {tools.uv} python install 3.11",
        )
    else:
        yield MachineFinding(
            "ok", "python", f"Python {tools.python}, a 3.11 for the stacks, and uv"
        )


def gpu(facts: MachineFacts) -> Iterator[MachineFinding]:
    """Report the first that fails: the GPU answers, its driver is new enough, torch has code for
    it.
    """
    if facts.gpu_trouble is not None:
        trouble = facts.gpu_trouble
        yield MachineFinding(
            "error", "gpu", trouble.what, f"{trouble.todo}; until then on the CPU: {ON_CPU}"
        )
    elif not facts.machine.has_gpu:
        yield MachineFinding(
            "note",
            "gpu",
            "no NVIDIA GPU (no /dev/nvidia*, no /dev/dxg): models run on the CPU, in the cpu stack",
        )
    elif not facts.gpus:
        yield MachineFinding(
            "error",
            "gpu",
            "nvidia-smi lists no GPU",
            f"check nvidia-smi, or continue on the CPU: {ON_CPU}",
        )
    else:
        for number, card in enumerate(facts.gpus):
            yield next(_gpu_findings(card, facts.stacks), _card(number, card))


def _card(number: int, card: Gpu) -> MachineFinding:
    major, minor = card.capability
    said = f"{number}: {card.name}, {human_size(card.memory)}, {human_size(card.free)} free"
    return MachineFinding(
        "ok", "gpu", f"{said}, driver {card.driver}, compute capability {major}.{minor}"
    )


def numerics(facts: MachineFacts) -> Iterator[MachineFinding]:
    """Report what `inv check --numerics` found on this machine, stack by stack."""
    for table in facts.numerics:
        if failing := table.failing():
            names = ", ".join(f"{row.method} in {row.precision}" for row in failing)
            said = f"{table.stack} stack: not right on this machine: {names}; auto does not choose them"
            yield MachineFinding("warning", "numerics", said, "inv check --numerics")
        else:
            yield MachineFinding(
                "ok",
                "numerics",
                f"{table.stack} stack: {len(table.rows)} combinations agree with plain PyTorch",
            )
    if not facts.numerics:
        yield MachineFinding(
            "note", "numerics", "not looked at on this machine", "inv check --numerics"
        )


def _gpu_findings(card: Gpu, stacks: tuple[StackFacts, ...]) -> Iterator[MachineFinding]:
    wanting = [(stack, stack.cuda) for stack in stacks if stack.cuda is not None]
    major, minor = card.capability
    for stack, cuda in wanting:
        oldest = requirements.OLDEST_DRIVER.get(cuda[0])
        if oldest and int(card.driver.partition(".")[0]) < oldest:
            said = f"driver {card.driver} is too old for the {stack.name} stack: CUDA {cuda[0]}.{cuda[1]} requires {oldest} or newer"
            yield MachineFinding(
                "error",
                "gpu",
                said,
                f"install NVIDIA driver {oldest} or newer; until then: {ON_CPU}",
            )
    for stack, cuda in wanting:
        if requirements.fits(card.capability, cuda) is False:
            built = ", ".join(f"{a}.{b}" for a, b in requirements.BUILT_FOR[cuda])
            age = "old" if card.capability < min(requirements.BUILT_FOR[cuda]) else "new"
            said = f"{card.name} (compute capability {major}.{minor}) is too {age} for the {stack.name} stack's torch, which has code for {built}"
            yield MachineFinding("error", "gpu", said, f"use another GPU, or the CPU: {ON_CPU}")


def shm(facts: MachineFacts) -> Iterator[MachineFinding]:
    """Shared memory of the local runner; containers bring their own."""
    if facts.shm <= requirements.SHM:
        said = f"/dev/shm is {human_size(facts.shm)}: processes of the local runner that share tensors end with 135"  # noqa: S108 - only named
        yield MachineFinding(
            "warning",
            "shm",
            said,
            "sudo mount -o remount,size=2g /dev/shm (in a container: --shm-size=2g)",
        )
    else:
        yield MachineFinding("ok", "shm", f"/dev/shm {human_size(facts.shm)}")  # noqa: S108 - only named


def folders(facts: MachineFacts) -> Iterator[MachineFinding]:
    """The project's folders and the cache: can be written to, hold no file of somebody else's,
    libraries can be loaded.
    """
    yield from _place(facts.project, "project", "move the project to a folder of yours")
    yield from _place(facts.cache, "cache", "or use another folder: export SFTPLAY_CACHE=…")


def _place(place: FolderFacts, topic: str, instead: str) -> Iterator[MachineFinding]:
    mine = f"sudo chown -R {os.getuid()}:{os.getgid()}"
    if place.trouble:
        yield MachineFinding(
            "error",
            topic,
            f"{place.path} can't be written to: {place.trouble}",
            f"{mine} {place.path}, {instead}",
        )
    elif place.foreign is not None:
        said = f"{place.foreign} belongs to another user, and can't be changed (a container that ran as root?)"
        yield MachineFinding("error", topic, said, f"{mine} {place.path}")
    elif place.noexec:
        said = f"{place.path} is mounted noexec: kernels that are compiled at run time can't be loaded from it"
        yield MachineFinding(
            "warning", topic, said, f"sudo mount -o remount,exec its disk, {instead}"
        )
    else:
        free = "" if place.free is None else f", {human_size(place.free)} free"
        yield MachineFinding("ok", topic, f"{place.path}{free}")


def port(facts: MachineFacts) -> Iterator[MachineFinding]:
    """TensorBoard's port."""
    here = facts.port
    if here.ours:
        yield MachineFinding("ok", "port", f"{here.number}: TensorBoard runs there ({here.owner})")
    elif here.owner:
        other = (
            f"inv tensorboard --port {here.next_free}"
            if here.next_free
            else "inv tensorboard --port NUMBER"
        )
        yield MachineFinding(
            "warning", "port", f"127.0.0.1:{here.number} is taken by {here.owner}", other
        )
    else:
        yield MachineFinding("ok", "port", f"127.0.0.1:{here.number} is free for TensorBoard")
