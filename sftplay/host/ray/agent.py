"""`inv ray.agent`: makes this machine a node of a Ray cluster, for as long as the command runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

from sftplay import console
from sftplay.errors import MachineError, UsageError
from sftplay.host.local import environments
from sftplay.host.protocol.ends import exit_code
from sftplay.host.protocol.signals import handle_signals
from sftplay.host.ray.token import make_token, ray_environ

FIRST_PORT = 6379
WORKER_PORTS = 64
# Offsets from the first port. The head's own, then those of every node.
_PORTS = {
    "node-manager-port": 1,
    "object-manager-port": 2,
    "runtime-env-agent-port": 3,
    "dashboard-agent-listen-port": 4,
    "dashboard-agent-grpc-port": 5,
    "metrics-export-port": 6,
    "min-worker-port": 7,
    "max-worker-port": 6 + WORKER_PORTS,
}
_STORE = 80_000_000  # bytes; no objects are stored, the least that Ray takes is a little below
_REACH = 5.0  # seconds for the head to answer


def run(
    address: str | None = None,
    *,
    ip: str | None = None,
    first_port: int | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    name: str | None = None,
) -> int:
    """Be the cluster's first node, or with `address` a further one. Ends with Ctrl-C.

    Returns:
        0 after a stop by signal.

    Raises:
        MachineError: nobody answers at the address, or Ray refuses: other versions, another token,
            a port in use (69).
    """
    environment = environments.ensure("ray")
    port = first_port or FIRST_PORT
    if address:
        host, head_port = split_address(address)
        ip = ip or reach(host, head_port)
    else:
        make_token()
    node = name or socket.gethostname()
    argv = [str(environment.python.parent / "ray"), "start", "--block"]
    argv += [f"--address={address}"] if address else ["--head", f"--port={port}", "--include-dashboard=false"]  # fmt: skip
    argv += [f"--{option}={port + offset}" for option, offset in _PORTS.items()]
    argv += ["--disable-usage-stats", "--include-log-monitor=false", f"--node-name={node}"]
    argv += [f"--object-store-memory={_STORE}"]
    argv += [f"--node-ip-address={ip}"] if ip else []
    argv += [f"--num-cpus={cpus}"] if cpus is not None else []
    argv += [f"--num-gpus={gpus}"] if gpus is not None else []
    console.info(
        f"this machine is the node {node}; ports {port} to {port + 6 + WORKER_PORTS}, on every interface"
    )
    if not address:
        console.info(
            f"the other nodes: inv ray.agent --address {ip or socket.gethostname()}:{port}"
        )
    return _block(argv, {**ray_environ(), "SFTPLAY_NODE": node})


def _block(argv: list[str], env: dict[str, str]) -> int:
    """Run Ray's agent until a signal ends it."""
    stops: list[int] = []
    with handle_signals(stops.append, signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        )
        passed = False
        while True:
            try:
                code = exit_code(child.wait(timeout=0.5))
                break
            except subprocess.TimeoutExpired:
                if stops and not passed:
                    passed = True
                    child.send_signal(signal.SIGTERM)
    if stops:
        console.success("the node has left the cluster; trainings on it save a checkpoint first")
        return 0
    raise MachineError(
        f"Ray's agent ended with {code}",
        todo="its reason is printed above; every node has to run the same Ray and Python: the same checkout,"
        " the same python3.11",
    )


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT as host and port.

    Raises:
        UsageError: it is none (2).
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"an address is HOST:PORT, got {address!r}", todo=f"for example: node-1:{FIRST_PORT}"
        )
    return host, int(port)


def reach(host: str, port: int) -> str:
    """Return the address of this machine on the way to the cluster's head.

    Raises:
        MachineError: nobody answers there (69).
    """
    try:
        with socket.create_connection((host, port), timeout=_REACH) as reached:
            return str(reached.getsockname()[0])
    except OSError as error:
        raise MachineError(
            f"nobody answers at {host}:{port} ({error.strerror or error})",
            todo="start the first agent there: inv ray.agent; and open its ports between the nodes",
        ) from None


__all__ = ["FIRST_PORT", "WORKER_PORTS", "reach", "run", "split_address"]
