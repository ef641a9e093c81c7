"""A real terminal in a container: keys, Ctrl-C, size, colour, the code at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from pathlib import Path

import pytest

from sftplay.cli import parse_call
from sftplay.host.containers.interactive import needs_terminal
from tests.host.standin import CHECKOUT, image_with_python

STAGE = """
import os, signal, sys
signal.signal(signal.SIGWINCH, lambda *_: print("now", os.get_terminal_size().columns, flush=True))
print("size", os.get_terminal_size().columns, sys.stdin.isatty(), flush=True)
while True:
    try:
        line = input("> ")
    except KeyboardInterrupt:
        print("stopped", flush=True)
        continue
    except EOFError:
        sys.exit(7)
    print("heard", line.upper(), flush=True)
"""
LAUNCHER = """
import sys
from dataclasses import replace
from sftplay.call import StageCall
from sftplay.host.containers import available, engine
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.interactive import run_interactive
from sftplay.host.containers.spec import stage_spec
from sftplay.stages import BY_NAME
root, image = sys.argv[1:]
identity = HostIdentity(root=root, cache=root + "/cache", user="0:0", because="", cores=1, terminal="xterm")
spec = stage_spec(StageCall(BY_NAME["infer"]), available.ContainerImage("cpu", image, "", ""), identity, nonce="chat" * 4, terminal=True)
sys.exit(run_interactive(engine.connect(), replace(spec, entrypoint=("python3", "/sft/configs/stage.py"))))
"""


@pytest.mark.parametrize("options", [("--prompt=Hello",), ("--input=x.txt",)])
def test_one_prompt_or_a_file_needs_no_terminal(options: tuple[str, ...]) -> None:
    assert not needs_terminal(parse_call(["infer", *options]))
    assert not needs_terminal(parse_call(["process"]))


@pytest.mark.docker
def test_keys_ctrl_c_size_and_the_end(tmp_path: Path) -> None:
    image = image_with_python()
    for name in ("data", "outputs", "configs", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "configs" / "stage.py").write_text(STAGE)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(CHECKOUT)
        os.execv(sys.executable, [sys.executable, "-c", LAUNCHER, str(tmp_path), image])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 77, 0, 0))
    seen = expect(terminal, b"", b"> ")
    assert b"size " in seen
    assert b"True" in seen
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 99, 0, 0))
    seen = expect(terminal, seen, b"now 99")
    os.write(terminal, "grüße\r".encode())
    # A key counts once the next prompt stands: before it the stage is outside its try.
    seen = expect(terminal, seen, "heard GRÜSSE\r\n> ".encode())
    os.write(terminal, b"half a line\x03")
    seen = expect(terminal, seen, b"stopped\r\n> ")
    os.write(terminal, b"\x04")
    expect(terminal, seen, b"", until_end=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def expect(terminal: int, seen: bytes, text: bytes, *, until_end: bool = False) -> bytes:
    deadline = time.monotonic() + 180
    while until_end or text not in seen:
        assert time.monotonic() < deadline, seen.decode(errors="replace")
        if select.select([terminal], [], [], 1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                return seen
    return seen
