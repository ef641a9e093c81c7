"""A connection to a Ray cluster, through a process in the environment that has Ray."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sftplay import isolated
from sftplay.errors import MachineError
from sftplay.host.local import environments
from sftplay.host.ray.agent import reach, split_address
from sftplay.host.ray.token import ray_environ

_CONNECT, _ANSWER = 60.0, 120.0  # seconds
GUARD = isolated.command("sftplay.host.ray.guard")[1:]


class RayConnection:
    """An open connection.

    Args:
        address: of the cluster's head, HOST:PORT.
        log: file for what Ray prints.

    Raises:
        UsageError: no such address (2). MachineError: nobody answers there, this machine has no
            agent, or Ray refuses (69).
    """

    def __init__(self, address: str, log: Path) -> None:
        self.address, self.log = address, log
        host, port = split_address(address)
        reach(host, port)
        python = str(environments.ensure("ray").python)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            self._begin = output.tell()
            self._process = subprocess.Popen(
                [*isolated.command("sftplay.host.ray.client", python), host, str(port)],
                env=dict(ray_environ()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C is the driver's
            )
        self._received = b""
        self.nodes: list[dict[str, Any]] = self._receive(_CONNECT)["nodes"]

    def ask(self, do: str, **values: Any) -> Any:
        """Send a request. Returns its answer.

        Raises:
            MachineError: the cluster is gone, or it refuses (69).
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._gone() from None
        return self._receive(_ANSWER)

    def close(self) -> None:
        """Leave the cluster; experiments run on."""
        self._process.kill()
        self._process.wait()

    def _receive(self, seconds: float) -> Any:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.close()
                raise self._gone()
            piece = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not piece:
                raise self._gone()
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise self._refused(str(answer["error"]))
        return answer["value"]

    def _gone(self) -> MachineError:
        return MachineError(
            f"the Ray cluster at {self.address} does not answer",
            where=str(self.log),
            todo="start its agents again: inv ray.agent; the same command then continues the batch",
        )

    def _refused(self, error: str) -> MachineError:
        with open(self.log, "rb") as log:
            log.seek(self._begin)
            error += log.read().decode(errors="replace")  # why a token was refused stands there
        known = {
            "Version mismatch": (
                "it runs another Ray or Python than this machine",
                f"every node has to use the same checkout and the same Python (here {sys.version.split()[0]} starts tasks.py)",
            ),
            "InvalidAuthToken": _OTHER_TOKEN,
            "AuthenticationError": _OTHER_TOKEN,
            "Failed to connect to Ray cluster": (
                "what listens there does not answer as Ray",
                "the address of the first agent: inv ray.agent prints it",
            ),
            "No node info found": _NO_AGENT,
            "Can't find a": _NO_AGENT,
        }
        what, todo = next(
            (known[part] for part in known if part in error), (error.splitlines()[0], "see the log")
        )
        return MachineError(
            f"the Ray cluster at {self.address} refuses: {what}", where=str(self.log), todo=todo
        )


_OTHER_TOKEN = (
    "it has another token",
    "give this machine the cluster's: RAY_AUTH_TOKEN_PATH=FILE",
)
_NO_AGENT = (
    "this machine is no node of it",
    "start an agent here too, with --cpus 0 --gpus 0 if nothing is to run on it: inv ray.agent --address HOST:PORT",
)
