"""A folder with a small program in the place of the training stage, and launchers of both runners
in it.

The program does what a training does as far as a launcher can see: it takes the run's lock, says
where it is, saves on SIGTERM, may ask to be handed over, and ends with a code. Launcher,
supervisor, engine, locks, records and signals are the real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sftplay.errors import SftplayError
from sftplay.host.containers import engine as engines

CHECKOUT = Path(__file__).resolve().parents[2]

# STAND_IN: what it does; STAND_IN_BNB: what it does where it takes over from another attempt;
# STAND_IN_STOPPED: its code after SIGTERM.
STAGE = r"""
import fcntl, json, os, signal, sys, time
from pathlib import Path
run = Path("outputs/demo")
words = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
mode = os.environ.get("STAND_IN_BNB", "0") if "handed-over-from" in words else os.environ.get("STAND_IN", "3")
lock = open(run / ".run.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a second training would die here, and the tests see its traceback
(run / "starts").open("a").write(os.environ["SFTPLAY_NONCE"] + " " + " ".join(sys.argv[1:]) + "\n")
def stop(signum, frame):
    os.write(1, b"saving\n")  # not print: the signal may come while a print is under way
    if mode == "deaf":
        return
    time.sleep(0.2)
    (run / "saved").touch()
    os._exit(int(os.environ.get("STAND_IN_STOPPED", "85")))
signal.signal(signal.SIGTERM, stop)
print("begins", *sys.argv[1:], flush=True)
def ask(step=0, reason="kernel", **change):
    attempt = run / "attempts" / (words.get("attempt", "1").zfill(2) + "-unsloth")
    attempt.mkdir(parents=True, exist_ok=True)
    value = {"schema": 1, "run": "demo", "attempt": attempt.name, "nonce": os.environ["SFTPLAY_NONCE"], "phase": "probe",
             "reason": reason, "exception": "NotImplementedError", "message": "No operator found", "step": step, "device": "",
             "versions": {}, "created": "2026-01-01T00:00:00+00:00", "source": "unsloth", "target": "bnb"}
    (attempt / "handover.json").write_text(json.dumps({**value, **change}))
    return attempt / "handover.json"
if mode.startswith("ask"):  # ask:code:what
    _, code, *what = mode.split(":")
    what = what[0] if what else "kernel"
    if what in ("symlink", "fifo", "folder", "large", "torn"):
        path = ask(); path.unlink()
        if what == "symlink": (path.parent / "x").write_text("{}"); path.symlink_to("x")
        if what == "fifo": os.mkfifo(path)
        if what == "folder": path.mkdir()
        if what == "large": path.write_bytes(b" " * 70000 + b"{}")
        if what == "torn": path.write_text('{"schema": 1')
    elif what in ("nonce", "run", "attempt", "target"): ask(**{what: "x"})
    elif what.startswith("step"): ask(int(what[4:]))
    elif what != "nothing": ask(reason=what)
    if os.environ.get("STAND_IN_PAUSE"): time.sleep(float(os.environ["STAND_IN_PAUSE"]))
    sys.stdout.flush(); os._exit(int(code))
if mode.isdigit():
    sys.stdout.buffer.write(b"50%\r\xff100%\n"); sys.stdout.flush()
    sys.exit(int(mode))
if mode == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
if mode == "eat":
    kept = []
    while True: kept.append(bytearray(os.urandom(1 << 20)) * 16)
if mode == "look":
    import socket
    print("uid", os.getuid(), "caps", [l for l in open("/proc/self/status") if l.startswith(("CapEff", "NoNewPrivs"))], flush=True)
    for path in ("/etc/x", "/sft/configs/x", "/sft/outputs/demo/launch/x", "/sft/data/raw/x", "/cache/x", "/sft/data/x", "/tmp/x"):
        try: open(path, "w"); print("wrote", path)
        except OSError as error: print("refused", path)
    try: socket.create_connection(("1.1.1.1", 53), 2); print("network")
    except OSError: print("no network")
    sys.exit(0)
for step in range(600):
    print("step", step, flush=True)
    time.sleep(0.1)
    if (run / "enough").exists():
        print("done", flush=True); sys.exit(0)
"""

LAUNCHER = r"""
from sftplay.stops import raise_swallowed_again
raise_swallowed_again()  # as the menu does
import json, os, sys
from dataclasses import replace
from pathlib import Path
from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.containers import available, engine
from sftplay.cli import parse_call
from sftplay.decision import Decision
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.training import ContainerTrainingRunner
from sftplay.host.local.environments import Environment
from sftplay.host.launch.request import LaunchRequest, ResolvedLaunch
from sftplay.host.launch.training import TrainingLaunch
from sftplay.host.local.training import LocalTrainingRunner
from sftplay.host.system.machine import read_machine
from sftplay.settings import Settings
from sftplay.stages import Job

asked = json.loads(sys.argv[1])
call = parse_call(["train", "--run", "demo", *asked["options"]])
identity = HostIdentity(root=os.getcwd(), cache=os.getcwd() + "/cache", user=asked["user"], because="", cores=2, memory=asked["memory"])

class StandInContainer(ContainerTrainingRunner):
    def spec(self, run, start):
        made = super().spec(run, start)
        stand_in = {key: value for key, value in os.environ.items() if key.startswith("STAND_IN")}
        return replace(made, entrypoint=("python3", "/sft/configs/stage.py"), environment={**made.environment, **stand_in})

class StandIn(ResolvedLaunch):
    no_gpu = asked["no_gpu"]
    def engine(self):
        return engine.connect()
    def training_runner(self, backend):
        stack = "unsloth" if backend == "unsloth" else "cpu"
        if asked["runner"] == "local":
            environment = Environment(stack, Path("env/bin/python").absolute(), "sha256:0", "sha256:1")
            return LocalTrainingRunner(environment, os.environ, grace=asked["grace"])
        image = available.ContainerImage(stack, asked["image"], "sha256:2", "sha256:3")
        os.environ["SFTPLAY_CACHE"] = identity.cache
        return StandInContainer(self.engine(), image, identity, (), "", grace=int(asked["grace"]))

try:
    settings = Settings.model_validate({"backend": asked["backend"], "backend_fallback": asked["fallback"], "run": {"name": "demo"}})
    job, images = Job(settings, Path("none.yaml")), available.AvailableImages()
    launch = StandIn(LaunchRequest(call), job, read_machine(), images, Decision("local", "asked for"))
    code = TrainingLaunch(launch).run()
except SftplayError as problem:
    console.failure(problem)
    code = problem.code
sys.exit(code)
"""


class Project:
    """A folder with a stand-in stage, and launchers in it."""

    def __init__(self, folder: Path, runner: str = "local", image: str = "") -> None:
        self.folder, self.run, self.runner, self.image = (
            folder,
            folder / "outputs" / "demo",
            runner,
            image,
        )
        self.user = f"{os.getuid()}:{os.getgid()}"
        self.memory: int | None = None
        self.launchers: list[subprocess.Popen[bytes]] = []
        (folder / "env" / "bin").mkdir(parents=True)
        (folder / "configs").mkdir()
        (folder / "configs" / "stage.py").write_text(STAGE)
        (folder / "launcher.py").write_text(LAUNCHER)
        python = folder / "env" / "bin" / "python"
        python.write_text(
            f'#!/bin/sh\nshift 2\nexec {sys.executable} {folder}/configs/stage.py "$@"\n'
        )
        python.chmod(0o755)

    def start(
        self,
        *options: str,
        mode: str = "run",
        bnb: str = "0",
        grace: float = 20,
        backend: str = "bnb",
        no_gpu: str = "",
        fallback: dict[str, object] | None = None,
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """A launcher in a process of its own, as a task would be."""
        asked = {
            "options": options,
            "runner": self.runner,
            "image": self.image,
            "grace": grace,
            "backend": backend,
        }
        asked |= {
            "no_gpu": no_gpu,
            "fallback": fallback or {},
            "user": self.user,
            "memory": self.memory,
        }
        with open(self.folder / f"terminal-{len(self.launchers)}", "wb") as terminal:
            launcher = subprocess.Popen(
                [sys.executable, "launcher.py", json.dumps(asked)],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(CHECKOUT),
                    "STAND_IN": mode,
                    "STAND_IN_BNB": bnb,
                    **env,
                },
                stdout=terminal,
                stderr=terminal,
            )
        self.launchers.append(launcher)
        return launcher

    def terminal(self, launcher: subprocess.Popen[bytes]) -> bytes:
        return (self.folder / f"terminal-{self.launchers.index(launcher)}").read_bytes()

    def sees(self, launcher: subprocess.Popen[bytes], text: bytes) -> None:
        def said() -> bool:
            assert launcher.poll() is None or text in self.terminal(launcher), self.terminal(
                launcher
            ).decode()
            return text in self.terminal(launcher)

        wait_until(said, f"{text!r} on the terminal")

    def ends(self, launcher: subprocess.Popen[bytes]) -> int:
        return launcher.wait(timeout=60)

    def start_lines(self) -> list[str]:
        """Read the arguments that the stage was started with, in order: one line each."""
        path = self.run / "starts"
        return (
            [line.partition(" ")[2] for line in path.read_text().splitlines()]
            if path.exists()
            else []
        )

    def starts(self) -> int:
        return len(self.start_lines())

    def holder(self) -> int:
        wait_until(
            lambda: b"supervisor" in (self.run / ".launch.lock").read_bytes(),
            "a supervisor in the lock file",
        )
        return int(json.loads((self.run / ".launch.lock").read_text())["pid"])

    def events(self) -> list[dict[str, object]]:
        path = self.run / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def record(self, name: str) -> dict[str, object]:
        found = json.loads((self.run / "launch" / name).read_text())
        assert isinstance(found, dict)
        return found

    def end(self) -> None:
        """Nothing of it is left running."""
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "enough").touch()
        for launcher in self.launchers:
            launcher.kill()
            launcher.wait()


def image_with_python() -> str:
    """Id of a cpu image of ours, whatever state of the checkout it is of: its Python runs the
    stand-ins. Skips without one.
    """
    try:
        listed = engines.connect().api.images(filters={"label": "sftplay.stack=cpu"})
    except SftplayError as problem:
        pytest.skip(f"no container engine: {problem}")
    found = [
        image["Id"]
        for image in listed
        if any(tag.startswith("sftplay/cpu:") for tag in image["RepoTags"] or ())
    ]
    if not found:
        pytest.skip("no cpu image here: inv image.build cpu")
    return str(found[0])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.05)
