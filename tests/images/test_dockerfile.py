"""Rules for the Dockerfile, hadolint's and those it has no rule for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.containers.image_names import DOCKERFILE, STACKS, ingredients
from tests.host.conftest import CHECKOUT

TEXT = (CHECKOUT / DOCKERFILE).read_text()
LINES = [
    line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")
]


def instructions(name: str) -> list[str]:
    return [line.split(None, 1)[1] for line in LINES if line.split()[0] == name]


def test_hadolint_finds_nothing() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    found = str(tool) if tool.is_file() else shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint here (in images/dev.lock)")
    config = CHECKOUT / ".hadolint.yaml"
    done = subprocess.run(
        [found, "--config", str(config), "--no-color", str(CHECKOUT / DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """Its settings do not switch it off."""
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.is_file():
        pytest.skip("no hadolint here (in images/dev.lock)")
    bad = tmp_path / "Dockerfile"
    bad.write_text(
        "FROM debian:bookworm\nENV TOKEN=secret\nRUN cd /x && pip install y\nUSER root\n"
    )
    done = subprocess.run(
        [str(tool), "--config", str(CHECKOUT / ".hadolint.yaml"), "--no-color", str(bad)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert {"DL3042", "DL3002"} <= set(re.findall(r"DL\d{4}", done.stdout))


def test_the_base_is_pinned_by_digest_and_every_other_base_is_our_own_stage() -> None:
    base = next(line for line in instructions("ARG") if line.startswith("BASE="))
    assert re.fullmatch(r"BASE=debian:bookworm-slim@sha256:[0-9a-f]{64}", base)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", TEXT, flags=re.MULTILINE))
    for source in (line.split()[0] for line in instructions("FROM")):
        assert source in {"${BASE}", "system-${TORCH}", *stages}, source


def test_no_frontend_would_have_to_be_pulled() -> None:
    assert not re.search(
        r"^#\s*(syntax|check|escape)\s*=", TEXT, flags=re.MULTILINE | re.IGNORECASE
    )


def test_the_last_user_is_a_number_and_not_root() -> None:
    assert instructions("USER")[-1] == "10001:10001"
    assert LINES.index("USER 10001:10001") > max(
        number for number, line in enumerate(LINES) if line.startswith("RUN")
    )


def test_nothing_is_fetched_but_by_the_package_managers() -> None:
    assert instructions("ADD") == []
    for run in instructions("RUN"):
        assert not re.search(r"\b(curl|wget|git)\b", run), run
        assert not re.search(r"\|\s*(ba|da)?sh\b", run), run


def test_every_installer_wants_hashes() -> None:
    installs = [
        run for run in instructions("RUN") if re.search(r"\b(pip install|uv pip|pip sync)\b", run)
    ]
    assert len(installs) == 2
    assert all("--require-hashes" in run and "--only-binary :all:" in run for run in installs)


def test_no_argument_or_variable_holds_a_secret() -> None:
    for line in (*instructions("ENV"), *instructions("ARG")):
        assert not re.search(r"token|secret|password|key", line, flags=re.IGNORECASE), line
    assert "--mount=type=secret" in TEXT


def test_sftplay_comes_after_everything_that_takes_long() -> None:
    copied = next(number for number, line in enumerate(LINES) if line.startswith("COPY sftplay"))
    assert not [line for line in LINES[copied:] if "pip" in line or "apt-get" in line]


def test_the_context_is_what_goes_in_and_nothing_else() -> None:
    rules = [
        line
        for line in (CHECKOUT / ".dockerignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert rules[0] == "*"
    wanted = {
        str(path) for stack in STACKS for path in ingredients(stack) if path.parts[0] == "images"
    }
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == {*wanted, "sftplay"} - {str(DOCKERFILE)}
    assert "sftplay/host" in rules[rules.index("!sftplay") :]


@pytest.mark.parametrize("word", ["docker.sock", "privileged", "cap_add", "--privileged"])
def test_nothing_that_starts_containers_gives_them_the_engine_or_more_rights(word: str) -> None:
    """The engine's socket may be named where this machine's engine is looked for, never as
    something that is mounted.
    """
    names = [CHECKOUT / "compose.yaml", *CHECKOUT.glob("compose*.yaml"), CHECKOUT / DOCKERFILE]
    names += [CHECKOUT / "sftplay/host/containers" / name for name in ("spec.py", "mounts.py")]
    for path in names:
        lines = [
            line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")
        ]
        assert not [line for line in lines if word in line and "no-new-privileges" not in line], (
            path
        )
