from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.files import hash_file, write_json
from sftplay.host.local import environments
from sftplay.host.system.uv import find_uv
from tests.host.conftest import CHECKOUT

# An environment of one small package from PyPI, made by the real uv, in a checkout of its own.
MAKE = """
import os, sys
from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.local import environments as envs
try:
    print(envs.ensure("cpu", every_file="every_file" in os.environ).folder.name)
except SftplayError as problem:
    console.failure(problem)
    sys.exit(problem.code)
"""
SMALL_LOCK = "invoke==3.0.3 --hash=sha256:{digest}\n"


def small_lock(checkout: Path) -> None:
    """Cut the cpu lock down to one package of its own lines."""
    lines = (CHECKOUT / "images" / "host.lock").read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("invoke=="))
    end = next(
        number for number, line in enumerate(lines) if number > begin and not line.startswith(" ")
    )
    text = "\n".join(lines[begin:end]) + "\n"
    (checkout / "images" / "cpu" / "requirements.lock").write_text(text)


def make(checkout: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE],
        cwd=checkout,
        env={
            **os.environ,
            "PYTHONPATH": str(checkout),
            "SFTPLAY_ENVS": str(checkout / "envs"),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_made_once_whole_and_said_before(checkout: Path) -> None:
    small_lock(checkout)
    first = make(checkout)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    folder = checkout / "envs" / out.strip()
    digest = hash_file(checkout / "images" / "cpu" / "requirements.lock").removeprefix("sha256:")
    assert folder.name == f"cpu-{digest[:12]}"
    assert err.index("MB") < err.index("is made")
    script = folder / "bin" / "inv"
    assert "Invoke" in subprocess.check_output(
        [script, "--version"], text=True
    )  # its paths survived the rename
    again = make(checkout)
    assert again.communicate(timeout=60) == (out, "")
    assert [
        path.name for path in (checkout / "envs").iterdir() if not path.name.startswith(".")
    ] == [folder.name]


def test_two_at_once_make_it_once(checkout: Path) -> None:
    small_lock(checkout)
    both = [make(checkout), make(checkout)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert "".join(err for _, err in ends).count("is made") == 1


def test_an_interrupted_one_is_made_again(checkout: Path) -> None:
    small_lock(checkout)
    cut = make(checkout)
    deadline = time.monotonic() + 60
    while not list((checkout / "envs").glob(".tmp-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    cut.kill()
    cut.communicate()
    assert not [
        path for path in (checkout / "envs").glob("cpu-*") if (path / "sftplay.json").exists()
    ]
    again = make(checkout)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert not list((checkout / "envs").glob(".tmp-*"))


def slow_uv(checkout: Path) -> None:
    """Put a uv into the checkout that takes two seconds longer to install."""
    shim = checkout / ".venv/bin/uv"
    shim.parent.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\n[ "$1" = pip ] && sleep 2\nexec "{find_uv()}" "$@"\n')
    shim.chmod(0o755)


def test_the_uv_of_a_killed_command_is_waited_for(checkout: Path) -> None:
    small_lock(checkout)
    slow_uv(checkout)
    cut = make(checkout)
    deadline = time.monotonic() + 60
    while not list((checkout / "envs").glob(".tmp-*/bin/python")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    cut.kill()
    cut.communicate()
    again = make(checkout)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "waiting for it" in err
    assert (checkout / "envs" / out.strip() / "bin/inv").is_file()


def _no_bin(folder: Path) -> None:
    shutil.rmtree(folder / "bin")


def _no_python(folder: Path) -> None:
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to("/nowhere/python3.11")


def _no_package(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("lib/python3*/site-packages")) / "invoke")


def _no_record_of_a_package(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("lib/python3*/site-packages/invoke-*.dist-info")))


def _for_another_python(folder: Path) -> None:
    made = next(folder.glob("lib/python3*"))
    made.rename(made.with_name("python3.9"))


def _torn_marker(folder: Path) -> None:
    (folder / "sftplay.json").write_text('{"lock')


def _odd_marker(folder: Path) -> None:
    (folder / "sftplay.json").write_text("[1]")


def test_damage_is_seen_and_the_same_command_heals_it(checkout: Path) -> None:
    small_lock(checkout)
    out, _ = make(checkout).communicate(timeout=120)
    folder = checkout / "envs" / out.strip()
    for damage in (
        *(_no_bin, _no_python, _no_package, _no_record_of_a_package, _for_another_python),
        *(_torn_marker, _odd_marker),
    ):
        damage(folder)
        healed = make(checkout)
        _, err = healed.communicate(timeout=120)
        assert healed.returncode == 0, (damage, err)
        assert "is damaged" in err, damage
        assert "Invoke" in subprocess.check_output([folder / "bin/inv", "--version"], text=True)
        assert not list(folder.parent.glob(".tmp-*"))


def test_install_compares_every_file(checkout: Path) -> None:
    small_lock(checkout)
    out, _ = make(checkout).communicate(timeout=120)
    folder = checkout / "envs" / out.strip()
    cut = next(folder.glob("lib/python3*/site-packages/invoke/program.py"))
    text = cut.read_text()
    cut.unlink()  # uv may have linked it to its cache
    cut.write_text(text[:100])
    install = make(checkout, every_file="1")
    _, err = install.communicate(timeout=120)
    assert install.returncode == 0, err
    assert "is damaged" in err
    assert cut.read_text() == text


@pytest.mark.parametrize("torn", ["", "{", "[]", "{}", '{"lock_hash": 3, "environment_hash": ""}'])
def test_a_torn_record_is_none(torn: str, tmp_path: Path) -> None:
    (tmp_path / "sftplay.json").write_text(torn)
    assert environments._read("cpu", tmp_path) is None


def test_a_package_with_another_hash_is_refused(checkout: Path) -> None:
    (checkout / "images" / "cpu" / "requirements.lock").write_text(
        SMALL_LOCK.format(digest="0" * 64)
    )
    bad = make(checkout)
    _, err = bad.communicate(timeout=120)
    assert bad.returncode == 69
    assert "hash" in err.lower()
    assert not list((checkout / "envs").glob("cpu-*"))


def test_a_lock_that_is_missing_is_named(checkout: Path) -> None:
    (checkout / "images" / "cpu" / "requirements.lock").unlink()
    missing = make(checkout)
    _, err = missing.communicate(timeout=60)
    assert missing.returncode == 69
    assert "git checkout -- images/cpu/requirements.lock" in err


def test_old_environments_are_listed_as_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path))
    write_json(tmp_path / "cpu-000000000000" / "sftplay.json", {})
    (tmp_path / "cpu-111111111111").mkdir()
    assert environments.listing() == [(tmp_path / "cpu-000000000000", False)]
    current = hash_file(environments.CHECKOUT / environments.HOST_TESTS).removeprefix("sha256:")[
        :12
    ]
    write_json(tmp_path / f"host3.12-{current}" / "sftplay.json", {})
    assert environments.listing()[1:] == [(tmp_path / f"host3.12-{current}", True)]
    assert environments.present() == frozenset()
