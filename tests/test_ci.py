""".ci/engine.sh where it can't do what it is for: it says why, in a file too, and leaves nothing
behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy() -> Iterator[Path]:
    """Copy what the script needs to where another user may read it, with a docker command that
    finds no engine.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        (folder / "images").mkdir()
        shutil.copy(ROOT / "images" / "Dockerfile", folder / "images")
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
        (folder / "bin" / "docker").chmod(0o755)
        (folder / "work").mkdir()
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o055)
        (folder / "work").chmod(0o777)
        yield folder


def run(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    path = f"{copy}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    words = ("bash", str(copy / ".ci" / "engine.sh"), *words)
    return subprocess.run(
        words,
        env={"PATH": path},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **nobody,
    )


def test_without_an_engine_and_without_rights_it_says_why(copy: Path) -> None:
    done = run(copy, "up", str(copy / "work" / "engine"))
    assert done.returncode == 69
    said = "no engine answers, and only root can start one"
    assert said in done.stderr
    assert (copy / "work" / "engine" / "why").read_text().strip() == said
    assert not (copy / "work" / "engine" / "env").exists()
    assert run(copy, "down", str(copy / "work" / "engine")).returncode == 0
    assert not (copy / "work" / "engine").exists()


@pytest.mark.parametrize("words", [(), ("up",), ("start", "here")])
def test_a_wrong_command_line_gets_the_right_one(copy: Path, words: tuple[str, ...]) -> None:
    done = run(copy, *words)
    assert done.returncode == 2
    assert ".ci/engine.sh up FOLDER" in done.stderr


# In a network namespace of its own, where the script finds a network that nobody has changed.
IN_A_NAMESPACE = """
set -e
ip link set lo up
{setup}
look() {{ ip -o link | cut -d: -f2; cat /proc/sys/net/ipv4/ip_forward; for v in iptables ip6tables; do $v-save 2>/dev/null | grep -v '^#' | sed 's/ \\[.*\\]$//'; done; }}
look >{work}/before
trap 'bash {copy}/.ci/engine.sh down {work}/engine' EXIT
bash {copy}/.ci/engine.sh up {work}/engine
look >{work}/during
iptables -A INPUT -s 192.0.2.9 -j DROP
bash {copy}/.ci/engine.sh down {work}/engine
iptables -D INPUT -s 192.0.2.9 -j DROP
look >{work}/after
"""
OTHERS = """
iptables -P FORWARD {policy}
iptables -A FORWARD -s 192.0.2.1 -m comment --comment 'of somebody else' -j ACCEPT
iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    "setup", ["true", OTHERS.format(policy="ACCEPT"), OTHERS.format(policy="DROP")]
)
def test_an_engine_leaves_the_network_as_it_was(copy: Path, setup: str) -> None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "unshare", "ip", "iptables"))):
        pytest.skip("needs root, dockerd, unshare, ip and iptables")
    work = copy / "work"
    # Nothing can be downloaded there: an empty base does, and the docker command of this machine.
    (copy / "bin" / "docker").unlink()
    empty = copy / "bin" / "debootstrap"
    empty.write_text('#!/bin/sh\nmkdir -p "$4/etc/ssl/certs" "$4/usr/local/share"\n')
    empty.chmod(0o755)
    script = IN_A_NAMESPACE.format(copy=copy, work=work, setup=setup)
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", script],
        env={**os.environ, "PATH": f"{copy}/bin:{os.environ['PATH']}", "DOCKER_HOST": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "docker0" in (work / "during").read_text()
    assert "DOCKER" in (work / "during").read_text()
    before, after = ((work / name).read_text().splitlines() for name in ("before", "after"))
    # A table that was looked at exists from then on, with empty chains.
    new = [
        line for line in after if line not in before and not line.startswith(("*", ":", "COMMIT"))
    ]
    assert [line for line in before if line not in after] == new == []
    assert not [line for line in after if "DOCKER" in line or "docker0" in line]
    assert (":FORWARD DROP" in after) == ("FORWARD DROP" in setup)
    assert not (work / "engine").exists()
