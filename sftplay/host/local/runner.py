"""The local runner: a stage as a child process in a stack's environment, with the argv it would get
in a container.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sftplay import isolated
from sftplay.call import StageCall
from sftplay.environment import announce, compose, left_out
from sftplay.host.local import active
from sftplay.host.local.environments import Environment
from sftplay.host.protocol.ends import exit_code, explain_end
from sftplay.host.protocol.hub import OFFLINE, inherited
from sftplay.host.protocol.signals import STOPS, handle_signals
from sftplay.host.system.parent import follow_parent
from sftplay.stages import Stage


def stage_environ(
    stage: Stage, environment: Environment, base: Mapping[str, str], *, cores: int, device: str = ""
) -> dict[str, str]:
    """Return a stage's variables: those of the person's that it may see, offline unless it needs
    the network. What was left out and could have mattered is printed, once per command.
    """
    env = compose(base, network=stage.network)
    env |= {
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        # train tokenizes too, after its workers have been forked and have ended
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "SFTPLAY_RUNNER": environment.runner,
        "SFTPLAY_STACK": environment.stack,
        "SFTPLAY_ENVIRONMENT_HASH": environment.environment_hash,
        "SFTPLAY_LOCK_HASH": environment.lock_hash,
    }
    if environment.runner == active.NAME:
        del env["PYTHONNOUSERSITE"]
        env |= active.package_variables(base)
    env.setdefault("OMP_NUM_THREADS", str(cores))
    env.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # waiting threads sleep: half the CPU time where cores are shared
    if device:
        env["SFTPLAY_DEVICE"] = device
    if not stage.network:
        env |= dict.fromkeys(OFFLINE, "1")
    _announce_once(tuple(left_out(base, env)))
    return env


@functools.cache
def _announce_once(names: tuple[str, ...]) -> None:
    announce(list(names))


def run_stage(call: StageCall, environment: Environment, *, cores: int, device: str = "") -> int:
    """Run a stage that is no training to its end, with this terminal.

    Args:
        device: what the stage is to assert; empty for one that needs none.

    Returns:
        Its exit code.
    """
    env = stage_environ(call.stage, environment, os.environ, cores=cores, device=device)
    code = run_foreground([*isolated.command("sftplay", str(environment.python)), *call.argv], env)
    explain_end(call.stage.name, code)
    return code


def run_foreground(argv: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> int:
    """Run a child with this terminal and return its exit code, 128 + signal where one ended it.

    If this process is killed, the child stops too: it would go on without anybody to see it.

    Ctrl-C reaches the child through the terminal, so it is not sent a second time; signals that
    somebody sends to this process alone (SIGTERM, SIGHUP) are passed on.
    """
    child: subprocess.Popen[bytes] | None = None

    def pass_on(signum: int) -> None:
        if child is not None and (signum != signal.SIGINT or not os.isatty(0)):
            child.send_signal(signum)

    with handle_signals(pass_on, *STOPS):
        sys.stdout.flush()
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            pass_fds=inherited(env),
            preexec_fn=follow_parent(signal.SIGTERM),  # noqa: PLW1509 - this process has no threads
        )
        return exit_code(child.wait())
