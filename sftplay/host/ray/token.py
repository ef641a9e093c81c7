"""The token of a Ray cluster: who has it may run commands on every node."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from sftplay.errors import MachineError
from sftplay.host.local.environments import envs_folder

_GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def token_file() -> Path:
    """Return the file of the project's own cluster, next to the environments."""
    return envs_folder() / "ray.token"


def make_token() -> None:
    """Make the token of a new cluster, readable by its owner alone, unless there is one."""
    path = token_file()
    if any(os.environ.get(name) for name in _GIVEN) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(secrets.token_hex(32))


def ray_environ() -> Mapping[str, str]:
    """Return the variables with which Ray's programs start: token on, usage statistics off.

    Raises:
        MachineError: there is no token (69).
    """
    path = token_file()
    own: dict[str, str] = {}
    if not any(os.environ.get(name) for name in _GIVEN):
        if not path.is_file():
            raise MachineError(
                "there is no token of a Ray cluster",
                where=str(path),
                todo="start the first agent: inv ray.agent; or set RAY_AUTH_TOKEN_PATH to the file of your cluster's token",
            )
        own = {"RAY_AUTH_TOKEN_PATH": str(path)}
    return {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        **own,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # it would kill a training that uses the memory
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # the guards stop what runs, with a checkpoint
        "RAY_raylet_start_wait_time_s": "120",  # a busy machine starts it slowly
    }
