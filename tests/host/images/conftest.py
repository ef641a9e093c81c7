"""Small images in a checkout of their own: their names are not those of the machine's real ones."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from sftplay.host.containers import engine as engines
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.image_names import VERIFIED_LABEL, current
from sftplay.host.images import published, recipe, state
from tests.host.conftest import CHECKOUT, RunTask

STACK = "unsloth"  # what toys say they are: other tests take any image that says `cpu`


@dataclass(frozen=True)
class Toy:
    """A checkout whose images are called `<prefix>/…`, and the engine."""

    checkout: Path
    prefix: str
    engine: Engine
    made: list[str] = field(default_factory=list)

    @property
    def tag(self) -> str:
        """Today's name of the image in this checkout."""
        return current(STACK, self.checkout).tag.replace("sftplay/", f"{self.prefix}/", 1)

    def build(self, *, verified: str = "everything") -> str:
        """An image of one file with the labels of a real one, on the pinned base as far as its
        labels say.
        """
        name = current(STACK, self.checkout)
        labels = {**recipe.labels(name, recipe.pinned_base()), **recipe.parts(STACK, self.checkout)}
        labels |= {VERIFIED_LABEL: verified} if verified else {}
        changes = [f"LABEL {json.dumps(key)}={json.dumps(value)}" for key, value in labels.items()]
        # Imported, not built: a layer in the build's cache would never be asked for in a registry.
        repository, _, tag = self.tag.partition(":")
        self.engine.api.import_image_from_data(_archive(), repository, tag, changes)
        self.made.append(self.engine.api.inspect_image(self.tag)["Id"])
        return self.tag

    def images(self) -> list[str]:
        """Names of this checkout's images, digests included."""
        found = self.engine.api.images(filters={"label": "sftplay.stack"})
        names = [
            name
            for one in found
            for name in [*(one["RepoTags"] or []), *(one["RepoDigests"] or [])]
        ]
        return sorted(name for name in names if self.prefix in name)

    def remove(self) -> None:
        for name in (
            *self.images(),
            *self.made,
        ):  # by id too: a second build takes the first one's name away
            state.forget(self.engine, name)


def _archive() -> bytes:
    """A tar file with one file that no other image has."""
    content = uuid.uuid4().hex.encode()
    entry = tarfile.TarInfo("file")
    entry.size = len(content)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def toy(checkout: Path) -> Iterator[Toy]:
    prefix = f"sftplay-test-{uuid.uuid4().hex[:8]}"
    names = checkout / "sftplay" / "host" / "containers" / "image_names.py"
    text = names.read_text()
    assert 'REPOSITORY = "sftplay"' in text
    names.write_text(text.replace('REPOSITORY = "sftplay"', f'REPOSITORY = "{prefix}"'))
    shutil.copy(CHECKOUT / ".dockerignore", checkout)
    made = Toy(checkout, prefix, engines.connect())
    yield made
    made.remove()


@pytest.fixture
def run_image_task(run_task: RunTask, toy: Toy) -> RunTask:
    """Run a task in the toy's checkout, with the engine."""

    def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run_task(*argv, env={"DOCKER_HOST": toy.engine.host, **env})

    return run


@dataclass
class Registry:
    """A registry on loopback, as Debian packages it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder / 'data'}}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "{self.host}"}}\n'
        )
        argv = ["docker-registry", "serve", str(config)]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the registry does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def blob(self, digest: str) -> Path:
        """The file that holds the content of a digest."""
        name = digest.removeprefix("sha256:")
        return self.folder / "data" / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    if shutil.which("docker-registry") is None:
        pytest.skip("no docker-registry here (Debian's package of that name)")
    folder = tmp_path / "registry"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Registry(folder, port)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def pushed(toy: Toy, registry: Registry, run_image_task: RunTask) -> Toy:
    """An image that is published and no longer here."""
    toy.build()
    end = run_image_task("image.push", STACK, "--registry", registry.host)
    assert end.returncode == 0, end.stderr
    toy.remove()
    assert toy.images() == []
    return toy


def change(checkout: Path, **values: str) -> None:
    """Change values of the published image in the checkout's lock."""
    path = checkout / published.PATH
    lock = yaml.safe_load(path.read_text())
    lock["images"][STACK] |= values
    path.write_text(yaml.safe_dump(lock))
