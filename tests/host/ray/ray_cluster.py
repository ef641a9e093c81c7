"""A Ray cluster of two nodes on this machine, in a network and a process namespace of its own: Ray
listens on every interface, and nothing of it outlives the namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

HEAD, OTHER = "10.99.0.1", "10.99.0.2"
PORT = 6400
PROGRAMS = ("unshare", "nsenter", "ip")
START = 150.0  # seconds for a busy machine


def missing() -> str:
    """Return why no cluster can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"Ray's namespace needs {absent[0]}"
    if os.geteuid():
        return "a network namespace needs root"
    done = subprocess.run(["unshare", "-n", "-p", "-f", "true"], capture_output=True, check=False)
    return "no namespaces here" if done.returncode else ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class RayCluster:
    """The namespace and the agents in it.

    Attributes:
        environ: of everything that runs in the namespace.
    """

    address = f"{HEAD}:{PORT}"

    def __init__(self, folder: Path, project: Path, environ: Mapping[str, str]) -> None:
        self.folder, self.project, self.environ = folder, project, dict(environ)
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._space = subprocess.Popen(
            ["unshare", "-n", "-p", "-f", "--mount-proc", "--kill-child", "sleep", "7200"]
        )
        deadline = time.monotonic() + 20
        while not (below := psutil.Process(self._space.pid).children()):
            assert time.monotonic() < deadline, "no namespace"
            time.sleep(0.05)
        self._first = below[0].pid
        time.sleep(0.2)
        for argv in (
            ("ip", "link", "set", "lo", "up"),
            ("ip", "addr", "add", f"{HEAD}/32", "dev", "lo"),
            ("ip", "addr", "add", f"{OTHER}/32", "dev", "lo"),
        ):
            self.run(*argv)

    def inside(self, *argv: str) -> list[str]:
        """Return the words that run a command in the namespace, in the project."""
        program = _program("nsenter")
        assert program is not None
        return [program, "-t", str(self._first), "-n", "-p", "-m", f"--wd={self.project}", "--", *argv]  # fmt: skip

    def run(self, *argv: str) -> str:
        """Run a command in the namespace to its end. Returns what it printed."""
        path = f"{self.environ.get('PATH', os.environ['PATH'])}:/usr/sbin:/sbin"
        done = subprocess.run(
            self.inside(*argv), env={**self.environ, "PATH": path}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def start_node(self, name: str, *more: str, task: Sequence[str]) -> None:
        """Start an agent and wait until it is in the cluster.

        Args:
            task: words that start a task of sftplay.
        """
        log = self.folder / f"{name}.log"
        first = name == "n1"
        words = [
            "--ip",
            HEAD if first else OTHER,
            "--first-port",
            str(PORT if first else PORT + 100),
        ]
        words += [] if first else ["--address", self.address]
        temporary = self.folder / name
        temporary.mkdir(exist_ok=True)
        with open(log, "wb") as output:
            self._agents[name] = subprocess.Popen(
                self.inside(*task, "ray.agent", "--name", name, "--cpus", "1", "--gpus", "0", *words, *more),
                env={**self.environ, "RAY_TMPDIR": str(temporary)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + START
        while b"runtime started" not in log.read_bytes():
            ended = self._agents[name].poll() is not None
            assert not ended and time.monotonic() < deadline, log.read_text(errors="replace")[
                -3000:
            ]
            time.sleep(0.1)

    def raylet(self, name: str) -> psutil.Process:
        """The daemon of a node."""
        for one in psutil.Process(self._first).children(recursive=True) + list(
            psutil.process_iter()
        ):
            try:
                if one.name() == "raylet" and f"--node-name={name}" in one.cmdline():
                    return one
            except psutil.Error:
                continue
        raise AssertionError(f"no raylet of {name}")

    def stop_node(self, name: str) -> int:
        """End an agent as Ctrl-C does. Returns its exit code."""
        for one in psutil.process_iter():
            try:
                if (
                    "ray.agent" in one.cmdline()
                    and name in one.cmdline()
                    and one.name() != "nsenter"
                ):
                    one.send_signal(signal.SIGINT)
            except psutil.Error:
                continue
        return self._agents[name].wait(timeout=60)

    def close(self) -> None:
        self._space.kill()  # and the whole namespace
        self._space.wait()
        for agent in self._agents.values():
            agent.wait()


@contextmanager
def ray_cluster(
    folder: Path,
    project: Path,
    environ: Mapping[str, str],
    task: Sequence[str],
    nodes: Sequence[str] = ("n1", "n2"),
) -> Iterator[RayCluster]:
    """Start a cluster, and end every process of it."""
    cluster = RayCluster(folder, project, environ)
    try:
        for name in nodes:
            cluster.start_node(name, task=task)
        yield cluster
    finally:
        cluster.close()
