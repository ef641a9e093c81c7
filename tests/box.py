"""Stages as real processes without paying for imports each time: one process has imported
everything, and forks.

A fork runs `sftplay.cli.main(argv)` in its own session, working directory and environment, with its
output in files, and ends with its exit code; it can be killed and stopped like any other. Importing
torch, TRL and datasets takes 10 to 20 s, a fork milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Ran:
    """A finished stage."""

    code: int
    out: str
    err: str


@dataclass
class Started:
    """A running stage."""

    box: Box
    pid: int
    folder: Path

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def has_ended(self, seconds: float) -> bool:
        """True if it is over by then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            time.sleep(0.02)
        return False

    def wait(self) -> Ran:
        """Its end; one that takes five minutes is killed, so that a test fails instead of waiting
        for ever.
        """
        if not self.has_ended(seconds=300):
            self.kill()
        code = self.box.ask({"wait": self.pid})["code"]
        return Ran(
            code,
            (self.folder / "out").read_text(errors="replace"),
            (self.folder / "err").read_text(errors="replace"),
        )


class Box:
    """The process that forks.

    Used as a session fixture.

    Args:
        python: of another environment; imports: more modules that it loads before it forks.
        env: for what is read while libraries are loaded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str | Path = sys.executable,
        imports: Sequence[str] = (),
        **env: str,
    ) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [str(python), str(Path(__file__)), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **env},
        )

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, *argv: str | Path, cwd: Path, terminal: str = "", **env: str) -> Started:
        """Start a stage without waiting for it; `terminal`: the device that is its stdin, stdout
        and controlling terminal.
        """
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir(parents=True)
        request = {
            "argv": [str(word) for word in argv],
            "cwd": str(cwd),
            "env": env,
            "folder": str(folder),
        }
        request["terminal"] = terminal
        return Started(self, self.ask(request)["pid"], folder)

    def run(self, *argv: str | Path, cwd: Path, **env: str) -> Ran:
        """Run a stage to its end.

        BOX_BREAK in `env`: `module:function` of a fault that is built in first.
        """
        return self.start(*argv, cwd=cwd, **env).wait()

    def close(self) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(timeout=30)


def wait_for(path: Path, seconds: float = 120) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear in {seconds} s"
        time.sleep(0.02)


def _serve() -> None:
    sys.path.insert(0, str(ROOT))
    import bitsandbytes  # noqa: F401
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch
    import torch.utils.tensorboard
    from trl import SFTConfig, SFTTrainer  # noqa: F401

    from sftplay.cli import main

    for name in sys.argv[1:]:
        importlib.import_module(name)
    torch.set_num_threads(1)  # tiny models; and several tests run side by side
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _fork(main, request)}
        print(json.dumps(answer), flush=True)


def _fork(main: Any, request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.update({"NO_COLOR": "1", "HF_HUB_OFFLINE": "1", **request["env"]})
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{request['folder']}/{name}", os.O_WRONLY | os.O_CREAT), number)
    if request["terminal"]:
        terminal = os.open(
            request["terminal"], os.O_RDWR
        )  # the first one that a new session opens becomes its own
        os.dup2(terminal, 0)
        os.dup2(terminal, 1)
    else:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 99
    try:
        if "BOX_BREAK" in request["env"]:
            module, _, function = request["env"]["BOX_BREAK"].partition(":")
            getattr(importlib.import_module(module), function)()
        code = main(request["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
