"""A Slurm cluster of two nodes on this machine: Debian's programs, their own folder, loopback only."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")


def missing() -> str:
    """Return why no cluster can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return (
            f"Slurm is not installed (Debian: slurmctld slurmd slurm-client munge): no {absent[0]}"
        )
    return "" if os.geteuid() == 0 else "slurmd runs as root only"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class SlurmCluster:
    """The running cluster.

    Attributes:
        environ: what its commands need to find it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"
        self.environ = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.nodes = ("n1", "n2")
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        key, munge_socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self.conf.write_text(_conf(self.folder, munge_socket, _free_ports(4)), encoding="utf-8")
        names = ("pid-file", "log-file", "seed-file")
        munge = [f"--{name}={self.folder / f'munge.{name}'}" for name in names]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge_socket}", *munge)  # fmt: skip
        self._wait(munge_socket.exists, "munged")
        self._daemon("slurmctld", "-D", "-f", str(self.conf), "-i")
        for node in self.nodes:
            self.start_node(node)
        self._wait(
            lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", "nodes"
        )

    def run(self, *argv: str, check: bool = False) -> str:
        """Run one of its commands. Returns what it printed."""
        done = subprocess.run(
            argv, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{argv}: {done.stderr}")
        return done.stdout

    def state(self, job: str) -> str:
        """Return the state of a job, for example RUNNING."""
        fields = self.run("scontrol", "show", "job", job).split()
        return next((word[9:] for word in fields if word.startswith("JobState=")), "")

    def wait_for(self, job: str, *states: str, seconds: float = 120) -> str:
        """Wait until a job has one of these states; start it at once where it waits to be requeued."""
        deadline = time.monotonic() + seconds
        while (found := self.state(job)) not in states:
            if time.monotonic() > deadline:
                raise AssertionError(f"job {job} is {found} after {seconds} s")
            if found == "PENDING":
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.2)
        return found

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon("slurmd", "-D", "-N", node, "-f", str(self.conf), name=node)

    def kill_node(self, node: str) -> None:
        """End a node's daemon and everything that runs on it at once, as a power cut does."""
        self._daemons[node].kill()
        self._daemons[node].wait()
        for one in _on_node(self.conf, node):
            _kill(one)

    def stop(self) -> None:
        for job in self.run("squeue", "-h", "-o", "%i").split():
            self.run("scancel", "--full", "-s", "KILL", job)
        for name in reversed(self._daemons):
            daemon = self._daemons[name]
            for child in _descendants(daemon.pid):
                _kill(child)
            daemon.kill()
            daemon.wait()

    def _daemon(self, program: str, *argv: str, name: str = "") -> None:
        log = open(self.folder / f"{name or program}.log", "wb")  # noqa: SIM115
        path = _program(program)
        assert path is not None
        self._daemons[name or program] = subprocess.Popen(
            [path, *argv], env=self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )

    def _wait(self, ready: object, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not ready():  # type: ignore[operator]
            if time.monotonic() > deadline:
                logs = "\n".join(
                    p.read_text(errors="replace")[-2000:] for p in self.folder.glob("*.log")
                )
                raise AssertionError(f"{what} did not come up in {seconds} s:\n{logs}")
            time.sleep(0.1)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """Start a cluster, and end every process of it."""
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _descendants(pid: int) -> list[int]:
    try:
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _on_node(conf: Path, node: str) -> list[int]:
    """Processes of the jobs on a node, Slurm's own step daemons first: they would restart none."""
    daemons, jobs = set(), set()
    for one in psutil.process_iter():
        try:
            environ = one.environ()
            if environ.get("SLURMD_NODENAME") == node and environ.get("SLURM_CONF") == str(conf):
                jobs.add(one.pid)
                daemons |= {up.pid for up in one.parents() if up.name().startswith("slurmstepd")}
        except psutil.Error:
            continue
    return [*daemons, *jobs]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _conf(folder: Path, munge_socket: Path, ports: list[int]) -> str:
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    host = socket.gethostname()
    return f"""
ClusterName=sftplay
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket}
CommunicationParameters=NoInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=20
MpiDefault=none
JobRequeue=1
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=2 RealMemory=4000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
