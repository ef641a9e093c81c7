"""TensorBoard in a container: started in the background, found and stopped by its labels."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sftplay.errors import MachineError, SftplayError
from sftplay.host.containers import available, host_identity, of_project
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.mounts import ROOT, Mount
from sftplay.host.containers.ownership import make_folders
from sftplay.host.containers.spec import BOARD_PORT, ContainerImage, ContainerSpec, project_of
from sftplay.host.containers.variables import ENVIRONMENT
from sftplay.host.system import machine
from sftplay.host.system.processes import answers

PATIENCE = 120.0  # seconds until it must answer


@dataclass(frozen=True)
class ContainerBoard:
    """A TensorBoard in a container of this project.

    Attributes:
        composed: docker compose started it.
    """

    container: str
    port: int
    folder: str
    composed: bool = False


def ours(engine: Engine) -> ContainerBoard | None:
    """The one that runs; one that has ended is removed."""
    for found in of_project.find(engine, stage="tensorboard"):
        if found.runs:
            folder = f"outputs/{found.run}" if found.run else "outputs"
            return ContainerBoard(found.id, found.ports[BOARD_PORT], folder, found.composed)
        if not found.composed:
            containers.remove(engine, found.id, force=True)
    return None


def launch(engine: Engine, stack: str, folder: str, port: int) -> None:
    """Start it and wait until it answers.

    Raises:
        MachineError: the port is taken, or it does not start (69); nothing of it is left.
    """
    identity = host_identity.identify_host(machine.read_machine(), rootless=engine.rootless)
    make_folders(identity)
    image = available.image_of(engine, stack)
    container = containers.create(
        engine, board_spec(folder, port, image, identity, nonce=secrets.token_hex(16))
    )
    try:
        containers.start(engine, container)
        _wait(engine, container, port)
    except BaseException:
        containers.remove(engine, container, force=True)
        raise


def stop(engine: Engine) -> ContainerBoard | None:
    """Stop and remove the one that runs; None where there is none."""
    found = ours(engine)
    if found is not None:
        with engine_errors("stop TensorBoard"):
            engine.api.stop(found.container, timeout=5)
        containers.remove(engine, found.container, force=True)
    return found


def board_spec(
    folder: str, port: int, image: ContainerImage, identity: HostIdentity, *, nonce: str
) -> ContainerSpec:
    """TensorBoard's container: reads outputs/, answers on 127.0.0.1 alone.

    Args:
        folder: what it shows, relative to the project: `outputs` or `outputs/<run>`.
    """
    project = project_of(identity.root)
    return ContainerSpec(
        image=image.name,
        name=f"sftplay-{project[:8]}-tensorboard",
        entrypoint=("python", "-m", "tensorboard.main"),
        command=(
            "--logdir",
            folder,
            "--host",
            "0.0.0.0",  # noqa: S104 - published on 127.0.0.1 only
            "--port",
            str(BOARD_PORT),
            "--reload_interval",
            "15",
        ),
        user=identity.user,
        environment={**ENVIRONMENT, "SFTPLAY_STACK": image.stack, "TF_CPP_MIN_LOG_LEVEL": "2"},
        binds=(Mount(f"{identity.root}/outputs", f"{ROOT}/outputs", read_only=True),),
        labels={
            "sftplay.project": project,
            "sftplay.run": folder.partition("/")[2],
            "sftplay.stage": "tensorboard",
            "sftplay.stack": image.stack,
            "sftplay.start": "",
            "sftplay.nonce": nonce,
        },
        network="bridge",  # a port can be published from no other
        publish={BOARD_PORT: port},
        memory=identity.memory,
    )


def _wait(engine: Engine, container: str, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = containers.inspect(engine, container)
        if state is None or state["Status"] == "exited":
            break
        if answers(port):
            return
        time.sleep(0.2)
    try:
        with engine_errors("read its log"):
            said = engine.api.logs(container, tail=3).decode(errors="replace").strip()
    except SftplayError:
        said = ""
    raise MachineError(
        f"TensorBoard does not answer\n{said}", todo="see these lines, then start it again"
    )
