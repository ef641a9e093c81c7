"""trackio's page and store with the real trackio: what is shown, followed, repaired and refused."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sftplay import isolated
from sftplay.errors import MachineError
from sftplay.files import write_json
from sftplay.host.local import environments
from sftplay.host.runs import ps, trackio
from sftplay.host.system import processes
from sftplay.runs import Run
from tests.browser import CHROMIUM, needs_browser
from tests.host.conftest import NO_ENGINE
from tests.host.runfolders import write_run
from tests.host.trackio.trackio_store import STORE, by_trackio, expected, stored, until

pytestmark = pytest.mark.long  # makes trackio's environment, and waits for a page that follows


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SFTPLAY_ENVS", str(environments.envs_folder()))
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    environments.ensure("trackio")
    monkeypatch.chdir(tmp_path)
    Path("outputs").mkdir()
    yield
    trackio.stop()


@pytest.fixture
def port() -> int:
    free = processes.next_free(17100)
    assert free is not None
    return free


def tracked_run(name: str, **given: Any) -> Run:
    run = write_run(name, **given)
    named = {**json.loads(run.record.read_text()), "trackers": ["trackio"]}
    write_json(run.record, named)
    return run


def steps_of(run: Run) -> Path:
    return run.attempts()[-1].steps


def add(run: Run, *lines: dict[str, Any]) -> None:
    with steps_of(run).open("a") as steps:
        steps.writelines(json.dumps(line) + "\n" for line in lines)


def ask(port: int, name: str, **values: Any) -> Any:
    """Call the page's server."""
    content = json.dumps(values).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{name}", content) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_runs_that_name_trackio_are_shown_live_and_once(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = tracked_run("mine", steps=10, finished=False), tracked_run("other", steps=7)
    write_run("not-named")
    trackio.start(port=port)
    assert "it shows 2 runs: mine, other" in capsys.readouterr().err
    wanted = {run.name: expected(steps_of(run)) for run in (mine, other)}
    assert stored() == wanted
    assert ask(port, "get_runs_for_project", project="sftplay")["data"]
    assert ask(port, "get_tab_availability", project="sftplay")["data"]["metrics"] is True

    add(mine, {"step": 6, "time": 2e9, "loss": 1.25}, {"step": 6, "time": 2e9, "eval_loss": 1.5})
    until(lambda: 6 in stored()["mine"] and "eval/loss" in stored()["mine"][6])
    assert stored()["mine"] == expected(steps_of(mine))
    run = by_trackio("get", "run", "--run", "mine")
    assert run["last_step"] == 6 and run["num_logs"] == 6
    assert run["config"]["train.max_steps"] == 10 and run["config"]["stamp.backend"] == "bnb"

    trackio.start()
    assert f"already runs for outputs: http://127.0.0.1:{port}" in capsys.readouterr().err
    ps.show()
    assert re.search(r"^trackio +- +local +trackio .* running ", capsys.readouterr().out, re.M)
    ps.stop((), everything=True)
    assert processes.is_free(port) and trackio.PAGE.ours() is None

    before = numbers()
    trackio.start(port=port)
    assert numbers() == before  # not written again


def numbers() -> list[tuple[int, str]]:
    with closing(sqlite3.connect(STORE / "sftplay.db")) as base:
        return base.execute("SELECT id, run_id FROM metrics ORDER BY id").fetchall()


def test_what_was_undone_replaced_renamed_or_removed_leaves_nothing(port: int) -> None:
    resumed = tracked_run("resumed", steps=10, finished=False)
    replaced, renamed, gone, left = (tracked_run(name) for name in ("replaced", "old", "gone", "x"))
    trackio.start(port=port)
    assert stored().keys() == {"resumed", "replaced", "old", "gone", "x"}

    add(resumed, {"step": 3, "time": 2e9, "loss": 0.5})
    with steps_of(resumed).open("a") as steps:
        steps.write('{"step": 4, "lo')
    shutil.rmtree(replaced.folder)
    tracked_run("replaced", steps=4)
    add(replaced, {"step": 5, "loss": 7.0})
    renamed.folder.rename("outputs/new")
    shutil.rmtree(gone.folder)
    write_json(left.record, {**json.loads(left.record.read_text()), "trackers": []})
    until(lambda: stored().keys() == {"resumed", "replaced", "new"})
    until(lambda: max(stored()["resumed"]) == 3 and max(stored()["replaced"]) == 5)
    for name, shown in stored().items():
        assert shown == expected(steps_of(Run(name))), name
    assert stored()["resumed"][3] == {"train/loss": 0.5}

    with steps_of(resumed).open("a") as steps:
        steps.write('ss": 0.25, "time": 2e9}\n')  # the rest of the torn line
    until(lambda: 4 in stored()["resumed"])


def test_a_run_from_a_stranger_spoils_nothing(port: int) -> None:
    good, bad = tracked_run("good", steps=5), tracked_run("bad", steps=5)
    add(bad, {"step": 6, "loss": 1e308, "time": 1e300}, {"step": 10**30, "loss": 1.0})
    bad.config.write_text("train: {a: 123456789012345678901234567890}\n")
    os.mkfifo(bad.attempts()[-1].samples)
    os.mkfifo("outputs/good/attempts/02-bnb")
    steps_of(tracked_run("linked")).unlink()
    steps_of(Run("linked")).symlink_to("/etc/passwd")
    trackio.start(port=port)
    assert stored()["good"] == expected(steps_of(good))
    assert by_trackio("get", "run", "--run", "bad")["config"]["train.a"] == "1234567890" * 3
    assert "linked" not in stored()


def test_one_run_alone_is_shown_whatever_its_trackers_are(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tracked_run("named")
    plain = write_run("plain", handed_over=True)
    plain.attempt(1, "unsloth").folder.mkdir()
    plain.attempt(1, "unsloth").steps.write_text('{"step": 1, "loss": 4.0}\n')
    trackio.start(port=port)
    assert stored().keys() == {"named"}
    trackio.stop()
    trackio.start(port=port, run="plain")
    assert stored().keys() == {"plain", "plain/01-unsloth"}
    assert stored()["plain/01-unsloth"] == {1: {"train/loss": 4.0}}
    trackio.start(port=port)
    assert "next: inv stop-trackio first" in capsys.readouterr().err


@pytest.mark.parametrize("write_steps", [True, False])
def test_an_empty_page_is_explained(
    port: int, write_steps: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if write_steps:
        steps_of(tracked_run("young")).write_text("")
    trackio.start(port=port)
    said = capsys.readouterr().err
    wanted = "no step is logged yet" if write_steps else "no run names trackio in train.trackers"
    assert wanted in " ".join(said.split())
    assert stored() == {} and ask(port, "get_all_projects")["data"] == ["sftplay"]


def test_a_damaged_store_is_built_again_and_that_is_said(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tracked_run("mine", steps=2000)
    trackio.start(port=port)
    wanted = expected(steps_of(run))
    assert stored() == {"mine": wanted}
    base = STORE / "sftplay.db"

    base.unlink()  # while it runs
    until(lambda: base.is_file() and base.stat().st_size > 100_000 and stored() == {"mine": wanted})
    assert "damaged" not in capsys.readouterr().err

    def garbage() -> None:
        base.write_bytes(b"no database " * 1000)

    def torn() -> None:
        content = base.read_bytes()
        base.write_bytes(content[:8192] + b"\xff" * 40_000 + content[48_192:])

    def foreign() -> None:
        base.unlink()
        with closing(sqlite3.connect(base)) as other:
            other.execute("CREATE TABLE metrics (a, b)")

    for damage in (garbage, torn, foreign):
        trackio.stop()
        damage()
        trackio.start(port=port)
        assert "built again from the runs' records" in capsys.readouterr().err, damage
        assert stored() == {"mine": wanted}, damage


def test_a_store_that_can_not_be_written_is_no_damage(port: int) -> None:
    tracked_run("mine")
    (STORE / "sftplay.db").mkdir(parents=True)
    with pytest.raises(MachineError, match="ended with 7"):
        trackio.start(port=port)
    assert (STORE / "sftplay.db").is_dir()


def test_a_second_mirror_of_one_store_ends_with_75(port: int) -> None:
    trackio.start(port=port)
    python = str(environments.ensure("trackio").python)
    done = subprocess.run(
        [*isolated.command("sftplay.host.trackio.page", python), str(port + 1)],
        env={**os.environ, **trackio.ENVIRON},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 75 and "trackio's page" in done.stderr


def test_the_page_changes_nothing_and_its_store_names_nobody(
    port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = "hf_" + "planted" * 5
    for name in ("HF_TOKEN", "TRACKIO_WRITE_TOKEN", "TRACKIO_SPACE_ID", "WANDB_API_KEY"):
        monkeypatch.setenv(name, token)
    run = tracked_run("mine")
    run.config.write_text(f"model: {{name: {tmp_path}/tiny}}\ndata: {{raw: [~/{'a' * 9}.csv]}}\n")
    trackio.start(port=port)
    page = trackio.PAGE.ours()
    assert page is not None
    assert token.encode() not in Path(f"/proc/{page.process.pid}/environ").read_bytes()
    before = stored()
    here = {"project": "sftplay"}
    entry = {**here, "run": "mine", "metrics": {"x": 1}, "step": 9}
    calls: dict[str, dict[str, Any]] = {
        "delete_run": {**here, "run": "mine"},
        "rename_run": {**here, "old_name": "mine", "new_name": "b"},
        "log": {**entry, "hf_token": None},
        "bulk_log": {"logs": [entry], "hf_token": None},
        "force_sync": {},
    }
    for call, values in calls.items():
        assert "not accepting writes" in ask(port, call, **values)["error"], call
    assert stored() == before
    trackio.stop()
    content = b"".join(path.read_bytes() for path in STORE.rglob("*") if path.is_file())
    assert b'"model.name": "tiny"' in content
    secrets = {token, socket.gethostname(), str(tmp_path), str(Path.home()), os.path.realpath(".")}
    secrets |= {getpass.getuser()} - {"root"}  # a word of many texts
    for secret in secrets:
        assert secret.encode() not in content, secret
    assert token.encode() not in trackio.PAGE.log.read_bytes()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (Debian)")
def test_it_talks_to_nobody_but_this_machine(port: int, tmp_path: Path) -> None:
    """Every connection and every datagram of the page's process, from its start to its end."""
    tracked_run("mine")
    python = str(environments.ensure("trackio").python)
    trace = tmp_path / "calls"
    command = [*isolated.command("sftplay.host.trackio.page", python), str(port)]
    with subprocess.Popen(
        ["strace", "-f", "-o", str(trace), "-e", "trace=connect,bind,sendto,sendmsg", *command],
        env={**os.environ, **trackio.ENVIRON},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as page:
        until(lambda: processes.answers(port), 60)
        for name in ("get_settings", "get_all_projects", "get_registries", "get_registry_buckets"):
            ask(port, name)
        assert "ffline" in ask(port, "get_registries", bucket_id="owner/name")["error"]
        for path in ("", "metrics", "runs", "settings", "version"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}").read()
        os.killpg(page.pid, signal.SIGTERM)
    calls = trace.read_text()
    assert f"sin_port=htons({port})" in calls  # its own
    for line in calls.splitlines():
        places = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
        assert all(one or other in ("127.0.0.1", "::1") for one, other in places), line
        assert all(one in ("127.0.0.1", "") for one, _ in places), line


@needs_browser
def test_a_browser_shows_the_curves_and_the_answers(port: int, tmp_path: Path) -> None:
    run = tracked_run("mine", steps=40)
    sample = {"id": "1", "prompt": "hi <b>there</b>", "reference": "ho", "answer": "<img src=x onerror=alert(1)>", "ended": True}  # fmt: skip
    run.attempts()[0].samples.write_text(json.dumps({"step": 40, "samples": [sample]}) + "\n")
    trackio.start(port=port)
    curves = dom(port, "metrics", tmp_path)
    assert "learning_rate" in curves and "eval (1)" in curves and "mine" in curves
    assert curves.count("<canvas") + curves.count("<svg") > 4
    table = dom(port, "media", tmp_path)
    assert "eval/answers" in table and "&lt;img src=x onerror" in table
    assert "<img src=x" not in table


def dom(port: int, path: str, folder: Path) -> str:
    """The page after its scripts ran, in a browser that can reach this machine alone."""
    assert CHROMIUM is not None
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    quiet = ("--disable-background-networking", "--disable-component-update", "--no-first-run")
    only = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    done = subprocess.run(
        [CHROMIUM, *flags, *quiet, only, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=15000",
         "--enable-logging=stderr", "--dump-dom", f"http://127.0.0.1:{port}/{path}"],
        capture_output=True, text=True, timeout=120, check=True, errors="replace",
    )  # fmt: skip
    assert ":CONSOLE" not in done.stderr, done.stderr
    return done.stdout
