"""Rules about the container engine: whether it answers, its images, its disk, and whether
containers get the GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sftplay.files import human_size
from sftplay.host.doctor.facts import MachineFacts
from sftplay.host.doctor.findings import Level, MachineFinding
from sftplay.host.system import requirements


def engine(facts: MachineFacts, asked: str) -> Iterator[MachineFinding]:
    """The engine and the rights to use it.

    Without one, runs continue in the local runner unless docker was asked for.
    """
    trouble, found = facts.engine_trouble, facts.engine
    if trouble is not None:
        yield MachineFinding(_weight(asked), "engine", str(trouble), trouble.todo)
    elif found is None and facts.machine.docker_socket is None:
        todo = "install one: sudo apt install docker.io"
        yield MachineFinding(
            _weight(asked) if asked == "docker" else "note",
            "engine",
            "no container engine here",
            todo,
        )
    elif found is not None:
        how = (
            f"{found.kind} {found.version}{', rootless' if found.rootless else ''}, API {found.api}"
        )
        yield MachineFinding("ok", "engine", f"{how}, at {found.host}")
        if found.rootless:
            said = "rootless: containers run as their own root, which is you on this machine; files stay yours"
            yield MachineFinding(
                "note",
                "engine",
                said,
                "for docker compose: SFTPLAY_UID=0 and SFTPLAY_GID=0 in .env",
            )


def compose(facts: MachineFacts) -> Iterator[MachineFinding]:
    """Docker compose, for people who start stages with it instead of with inv."""
    if facts.engine is None:
        return
    found, oldest = facts.engine.compose, ".".join(map(str, requirements.OLDEST_COMPOSE))
    todo = f"to start stages with compose.yaml, install docker compose {oldest} or newer (package docker-compose-plugin or docker-compose-v2); inv does not use it"
    if found is None:
        yield MachineFinding("note", "compose", "docker compose is not here", todo)
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if numbers < requirements.OLDEST_COMPOSE:
        said = f"docker compose {found} is too old for compose.yaml"
        yield MachineFinding("note", "compose", said, todo)
    else:
        yield MachineFinding("ok", "compose", f"docker compose {found}")


def images(facts: MachineFacts, asked: str) -> Iterator[MachineFinding]:
    """The images of the stacks that this machine would use."""
    if facts.engine is None:
        return
    for stack in facts.stacks:
        if stack.image == "present":
            yield MachineFinding("ok", "image", f"{stack.name}: {stack.tag}")
        elif stack.image == "stale":
            said = f"{stack.name}: the image here was made from another state of this checkout (inv image.check says which)"
            level: Level = _weight(asked) if wanted(facts, stack.name) else "note"
            yield MachineFinding(level, "image", said, f"inv image.build {stack.name}")
        elif wanted(facts, stack.name):
            todo = f"inv image.build {stack.name}, or inv image.pull {stack.name}"
            level = "error" if asked == "docker" else "note"
            yield MachineFinding(
                level, "image", f"{stack.name}: not here; the local runner does without", todo
            )


def gpu_in_containers(facts: MachineFacts, asked: str) -> Iterator[MachineFinding]:
    """Report whether a container that asks for the GPU gets it: tried with an image that is here,
    else guessed from the runtimes.
    """
    found = facts.engine
    if found is None or not facts.machine.has_gpu or facts.gpu_trouble is not None:
        return
    if found.gpu_trouble is not None:
        yield MachineFinding(_weight(asked), "gpu", str(found.gpu_trouble), found.gpu_trouble.todo)
    elif found.gpu_tried:
        yield MachineFinding("ok", "gpu", "containers get it")
    else:
        hint = (
            "its nvidia runtime is set up"
            if "nvidia" in found.runtimes
            else "the engine lists no nvidia runtime"
        )
        yield MachineFinding(
            "note", "gpu", f"whether containers get it is tried once an image is here ({hint})"
        )


def disks(facts: MachineFacts, asked: str) -> Iterator[MachineFinding]:
    """Room for what is not made yet (images or environments) and for a run.

    Needs on the same disk add up.
    """
    rooms: dict[int, tuple[int, list[str], int]] = {}
    for disk, free, need, what in _needs(facts, asked):
        _, whats, sum_ = rooms.get(disk, (0, [], 0))
        rooms[disk] = (free, [*whats, f"{what} {human_size(need)}"], sum_ + need)
    for free, whats, need in rooms.values():
        said = f"{human_size(free)} free; wanted: {', '.join(whats)}"
        if free < need:
            yield MachineFinding(
                "error" if free < requirements.RUN_SIZE else "warning",
                "disk",
                said,
                "inv clean --envs, inv image.prune, or another disk",
            )
        else:
            yield MachineFinding("ok", "disk", said)


def _needs(facts: MachineFacts, asked: str) -> Iterator[tuple[int, int, int, str]]:
    """(disk, bytes free, bytes wanted, for what)."""
    project = facts.project
    if project.free is not None:
        yield project.disk, project.free, requirements.RUN_SIZE, "a run"
    for stack in facts.stacks:
        if not wanted(facts, stack.name) or not stack.locked:
            continue
        store = facts.engine.storage if facts.engine else None
        if (
            store is not None
            and (asked == "docker" or stack.image == "stale")
            and stack.image != "present"
        ):
            if store.free is not None:
                yield (
                    store.disk,
                    store.free,
                    requirements.IMAGE_SIZE[stack.name],
                    f"the {stack.name} image",
                )
        elif stack.image != "present" and not stack.environment and project.free is not None:
            yield (
                project.disk,
                project.free,
                requirements.ENVIRONMENT_SIZE[stack.name],
                f"the {stack.name} environment",
            )


def wanted(facts: MachineFacts, stack: str) -> bool:
    """Return whether this machine's runs use a stack by default: cpu everywhere, bnb too if there
    is a GPU.
    """
    return stack == "cpu" or (stack == "bnb" and facts.machine.has_gpu)


def _weight(asked: str) -> Level:
    """Return how serious trouble with the engine is: an error if docker was requested, else the
    local runner is there.
    """
    return "error" if asked == "docker" else "warning"
