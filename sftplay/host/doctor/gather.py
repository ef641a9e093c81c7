"""Look at this machine: a second or two, and nothing is made, pulled or changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from sftplay.cli import make_job
from sftplay.errors import MachineError, SftplayError
from sftplay.files import hash_file
from sftplay.host.containers import image_names
from sftplay.host.containers.available import ImageState
from sftplay.host.doctor import engine_facts
from sftplay.host.doctor.facts import FolderFacts, MachineFacts, PortFacts, PythonFacts, StackFacts
from sftplay.host.local import environments
from sftplay.host.runs import tensorboard
from sftplay.host.system import machine, nvidia, requirements
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.system.processes import is_free, listener, name_of, next_free
from sftplay.host.system.uv import find_uv
from sftplay.numerics import Table, machine_name, read_table
from sftplay.places import cache_folder
from sftplay.settings import Settings

_LOOKED_AT = 5000  # files that are looked at for a foreign owner: a tenth of a second


def gather(
    root: Path = Path(),
    dev: Path = Path("/dev"),
    shm: Path = Path("/dev/shm"),  # noqa: S108 - looked at only
    *,
    engine: bool = True,
) -> MachineFacts:
    """Read every fact.

    Args:
        root: the project's folder.
        engine: ask the container engine too.
        dev, shm: where device files lie, and the shared memory.
    """
    here = machine.read_machine(root, dev)
    cards, gpu_trouble = _cards(here)
    answers = (
        engine_facts.query_engine(root, has_gpu=here.has_gpu)
        if engine
        else engine_facts.EngineAnswers()
    )
    return MachineFacts(
        machine=here,
        tools=_tools(),
        project=place(root.absolute(), ("data", "outputs")),
        cache=place(cache_folder()),
        shm=_size(shm),
        port=port(answers.ports),
        stacks=tuple(
            _stack(name, answers.images.get(name, "missing")) for name in image_names.STACKS
        ),
        gpus=cards,
        gpu_trouble=gpu_trouble,
        engine=answers.engine,
        engine_trouble=answers.trouble,
        numerics=tuple(_tables(cards)),
    )


def place(path: Path, inside: tuple[str, ...] = ("",)) -> FolderFacts:
    """A folder, or where it does not exist yet the one that it would be made in.

    Args:
        inside: its parts that are looked through for files of other users.
    """
    there = next(
        folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir()
    )
    try:
        with tempfile.TemporaryFile(dir=there):
            trouble = ""
    except OSError as error:
        trouble = error.strerror or str(error)
    disk = os.statvfs(there)
    return FolderFacts(
        path=path,
        free=disk.f_bavail * disk.f_frsize,
        disk=there.stat().st_dev,
        trouble=trouble,
        noexec=bool(disk.f_flag & os.ST_NOEXEC),
        foreign=None
        if trouble or there != path.absolute()
        else _foreign([path / part for part in inside]),
    )


def port(published: Mapping[int, tuple[str, bool]], number: int | None = None) -> PortFacts:
    """TensorBoard's port, and who has it.

    Args:
        published: ports that containers have: the name of each, and whether it is this project's
            TensorBoard.
        number: default: the config's.
    """
    wanted = number or _configured_port()
    board = tensorboard.PAGE.ours()
    if board is not None and board.port == wanted:
        return PortFacts(wanted, owner=f"for {board.folder}", ours=True)
    if wanted in published:
        name, ours = published[wanted]
        return PortFacts(wanted, owner=f"container {name}", ours=ours, next_free=next_free(wanted))
    if is_free(wanted):
        return PortFacts(wanted)
    process = listener(wanted)
    owner = f"process {process} ({name_of(process)})" if process else "a process of another user"
    return PortFacts(wanted, owner=owner, next_free=next_free(wanted))


def _configured_port() -> int:
    try:
        return make_job(None, None, (), {}).settings.tensorboard.port
    except SftplayError:  # the config has a fault of its own, which `inv check` reports
        return Settings().tensorboard.port


def _cards(here: machine.Machine) -> tuple[tuple[nvidia.Gpu, ...], SftplayError | None]:
    if not here.has_gpu:
        return (), None
    try:
        return tuple(nvidia.query_gpus()), None
    except MachineError as trouble:
        return (), trouble


def _tools() -> PythonFacts:
    try:
        uv: str | None = str(find_uv())
    except MachineError:
        uv = None
    return PythonFacts(
        python=sys.version.split()[0],
        python311=sys.version_info[:2] == environments.PYTHON or _finds_python311(uv),
        venv=find_spec("venv") is not None and find_spec("ensurepip") is not None,
        uv=uv,
    )


def _finds_python311(uv: str | None) -> bool:
    if uv is None:
        return shutil.which("python3.11") is not None
    command = [uv, "python", "find", "--no-python-downloads", "3.11"]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def _stack(name: str, image: ImageState) -> StackFacts:
    lock = CHECKOUT / environments.STACKS[name].lock
    tag = image_names.current(name).tag if lock.is_file() else ""
    return StackFacts(
        name, tag, image, name in environments.present(), lock.is_file(), requirements.cuda_of(lock)
    )


def _tables(cards: tuple[nvidia.Gpu, ...]) -> Iterator[Table]:
    """Yield the tables that were made on this machine with the stacks' present locks."""
    machines = {machine_name(None), *(card.name for card in cards)}
    for stack in image_names.STACKS:
        table, lock = read_table(stack), CHECKOUT / environments.STACKS[stack].lock
        if table and lock.is_file() and table.machine in machines and table.lock == hash_file(lock):
            yield table


def _foreign(folders: list[Path]) -> Path | None:
    """The first among the first thousands of files that is another user's and that this one can't
    change.
    """
    files = islice(_walk(folders), _LOOKED_AT)
    return next((path for path in files if _is_foreign(path)), None)


def _is_foreign(path: Path) -> bool:
    try:
        return path.lstat().st_uid != os.geteuid() and not os.access(path, os.W_OK)
    except OSError:  # a file that another process has just removed
        return False


def _walk(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            yield Path(parent)
            yield from (
                path for path in (Path(parent) / name for name in names) if not path.is_symlink()
            )


def _size(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return 0
    return disk.f_blocks * disk.f_frsize
