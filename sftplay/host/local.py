"""The local runner: a stage as a child process in a stack's environment, with the argv it would get in a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from sftplay import console
from sftplay.errors import EXIT_MEANINGS
from sftplay.host.envs import Environment
from sftplay.stages import Stage

CHECKOUT = Path(__file__).resolve().parents[2]
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
# Without bytecode on disk the libraries of a stack are compiled at every start: 20 s each time.
_UNWANTED = ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
NATIVE_ENDS = (134, 135, 137, 139)  # ends without a word from the stage itself


@dataclass(frozen=True)
class Call:
    """A stage with its command line.

    Attributes:
        options: the stage's own options, as argv.
        argv_override: a whole command line from a record, instead of one made from the parts.
    """

    stage: Stage
    config: str | None = None
    run: str | None = None
    overrides: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    argv_override: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """`STAGE --config FILE …`: what stands after `python -m sftplay` in every runner."""
        if self.argv_override:
            return list(self.argv_override)
        words = [self.stage.name]
        for flag, value in (("--config", self.config), ("--run", self.run)):
            words += [] if value is None else [flag, value]
        for override in self.overrides:
            words += ["--set", override]
        return [*words, *self.options]


def stage_environ(stage: Stage, environment: Environment, base: Mapping[str, str], *, cores: int) -> dict[str, str]:
    """Environment variables of a stage: the person's own, without tokens, offline unless the stage needs the network."""
    env = {key: value for key, value in base.items() if key not in (*TOKENS, *_UNWANTED)}
    env |= {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "true",  # train tokenizes too, after its workers have been forked and have ended
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "SFTPLAY_RUNNER": "local",
        "SFTPLAY_STACK": environment.stack,
        "SFTPLAY_ENVIRONMENT_HASH": environment.environment_hash,
        "SFTPLAY_LOCK_HASH": environment.lock_hash,
    }
    env.setdefault("OMP_NUM_THREADS", str(cores))
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep: half the CPU time where cores are shared
    if not stage.network:
        env |= dict.fromkeys(OFFLINE, "1")
    return env


@contextmanager
def token_file(base: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """HF_TOKEN_PATH for a stage with network, where the person has only HF_TOKEN: a private file, gone afterwards."""
    token = next((base[name] for name in TOKENS if base.get(name)), None)
    if token is None or base.get("HF_TOKEN_PATH"):
        yield {}
        return
    with TemporaryDirectory(prefix="sftplay-") as folder:
        path = Path(folder) / "token"
        path.touch(mode=0o600)
        path.write_text(token)
        yield {"HF_TOKEN_PATH": str(path)}


def run_foreground(argv: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> int:
    """Run a child with this terminal and return its exit code, 128 + signal where one ended it.

    Ctrl-C reaches the child through the terminal, so it is not sent a second time; signals that somebody sends to this
    process alone (SIGTERM, SIGHUP) are passed on.
    """
    child: subprocess.Popen[bytes] | None = None

    def pass_on(signum: int, frame: FrameType | None) -> None:
        if child is not None and (signum != signal.SIGINT or not os.isatty(0)):
            child.send_signal(signum)

    # A handler, not SIG_IGN: an ignored signal would stay ignored in the child.
    wanted = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, pass_on) for signum in wanted}
    try:
        sys.stdout.flush()
        child = subprocess.Popen(list(argv), env=dict(env), cwd=cwd)
        return exit_code(child.wait())
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def exit_code(returncode: int) -> int:
    """A death by signal is -N for subprocess, 128 + N for shells and our table."""
    return 128 - returncode if returncode < 0 else returncode


def explain_end(name: str, code: int) -> None:
    """A line for an end that the stage itself could not explain: killed, crashed."""
    if code in NATIVE_ENDS or (code > 128 and code not in EXIT_MEANINGS):
        meaning = EXIT_MEANINGS.get(code) or f"ended by {_signal_name(code - 128)}"
        console.error(f"{name} ended with {code}: {meaning}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
