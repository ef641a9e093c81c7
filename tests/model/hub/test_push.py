"""push: by the hub's own client library, against a hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sftplay.manifest import MANIFEST, seal
from sftplay.model.hub.contents import local_path
from sftplay.untrusted import read_json
from tests.box import ROOT, Box
from tests.model.hub.standin import TOKEN, Hub, Repository, standin_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "ada/demo"


@dataclass
class Pusher:
    """A trained project, a hub and a token."""

    project: Path
    hub: Hub

    def push(self, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        """Run the stage in a process of its own: the hub's address is read when it is imported."""
        (self.project / "token").write_text(token)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        env = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN_PATH": str(self.project / "token"),
            "HF_HOME": str(self.project / "hf"),
            "NO_PROXY": "127.0.0.1",
        }
        argv = [sys.executable, "-m", "sftplay", "push", "--run", "demo", "--to", NAME, *words]
        return subprocess.run(
            argv, cwd=self.project, env=env, capture_output=True, text=True, check=False
        )

    @property
    def folder(self) -> Path:
        return self.project / "outputs/demo/adapter"

    @property
    def record(self) -> dict[str, object]:
        found: dict[str, object] = read_json(self.project / "outputs/demo/run.json").get(
            "pushed", {}
        )
        return found


@pytest.fixture
def pusher(trained: Path, tiny_model: Path, tmp_path: Path) -> Iterator[Pusher]:
    """The base is on the hub, by its folder in the hub's cache."""
    config = trained / "outputs/demo/config.yaml"
    settings = yaml.safe_load(config.read_text())
    with standin_hub() as hub:
        hub.repositories["acme/tiny"] = base = Repository()
        base.commit("weights")
        real = tmp_path / "models/models--acme--tiny/snapshots" / COMMIT
        shutil.copytree(tiny_model, real)
        settings["model"]["name"] = str(real)
        config.write_text(yaml.safe_dump(settings))
        yield Pusher(trained, hub)


def test_nothing_is_sent_unasked(pusher: Pusher) -> None:
    done = pusher.push()
    assert done.returncode == 0, done.stderr
    assert "new      adapter_model.safetensors" in done.stderr and "--yes" in done.stderr
    assert NAME not in pusher.hub.repositories and not pusher.hub.requests


def test_what_arrives_is_byte_equal_and_a_second_push_tells_the_change(pusher: Pusher) -> None:
    done = pusher.push("--yes")
    assert done.returncode == 0, done.stderr
    there, here = pusher.hub.repositories[NAME], pusher.folder
    names = {path.name for path in here.iterdir()} - {MANIFEST}
    assert {*there.files} == names | {".gitattributes"} and len(there.commits) == 2
    for name in names - {"README.md"}:
        assert there.files[name] == (here / name).read_bytes(), name
    card = there.files["README.md"].decode()
    assert f'from_pretrained("{NAME}"' in card and "FOLDER" not in card
    assert pusher.record[NAME]["commit"] == there.commits[-1]  # type: ignore[index]
    assert TOKEN not in (pusher.project / "outputs/demo/run.json").read_text()
    assert (
        json.loads((here.parent / "events.jsonl").read_text().splitlines()[-1])["event"] == "pushed"
    )

    again = pusher.push("--yes")
    assert again.returncode == 0 and "nothing has changed" in again.stderr
    assert len(there.commits) == 2
    (here / "README.md").write_text((here / "README.md").read_text() + "\nMore.\n")
    (here / "extra.json").write_text("{}")
    seal(here, {key: value for key, value in read_json(here / MANIFEST).items() if key != "files"})
    third = pusher.push("--yes")
    assert third.returncode == 0, third.stderr
    for word in ("changed  README.md", "new      extra.json", "same     adapter_model.safetensors"):
        assert word in third.stderr
    assert len(there.commits) == 3 and there.files["extra.json"] == b"{}"
    (here / "extra.json").unlink()
    seal(here, {key: value for key, value in read_json(here / MANIFEST).items() if key != "files"})
    assert "removed  extra.json" in pusher.push("--yes").stderr
    assert "extra.json" not in there.files


@pytest.mark.parametrize(
    "where",
    [
        *("/commit/", "/api/repos/create"),
        # the library tries these again for half a minute
        *(pytest.param(one, marks=pytest.mark.long) for one in ("/lfs/", "/preupload/")),
    ],
)
def test_a_network_that_is_gone_publishes_nothing(pusher: Pusher, where: str) -> None:
    pusher.hub.breaks_at = where
    done = pusher.push("--yes")
    assert done.returncode == 69 and "same command" in done.stderr, done.stderr
    there = pusher.hub.repositories.get(NAME)
    assert there is None or {*there.files} == {".gitattributes"}
    assert not pusher.record
    pusher.hub.breaks_at = ""
    assert pusher.push("--yes").returncode == 0
    assert "adapter_model.safetensors" in pusher.hub.repositories[NAME].files


def test_no_token_and_a_wrong_one(pusher: Pusher) -> None:
    done = pusher.push("--yes", token="")
    assert done.returncode == 77 and "HF_TOKEN_PATH" in done.stderr and not pusher.hub.requests
    done = pusher.push("--yes", token="hf_other")
    assert done.returncode == 77 and "hf_other" not in done.stderr, done.stderr


def test_a_name_that_is_taken_and_commits_of_others(pusher: Pusher) -> None:
    pusher.hub.repositories[NAME] = taken = Repository()
    taken.commit("initial commit")
    taken.files["weights.bin"] = b"theirs"
    done = pusher.push("--yes")
    assert done.returncode == 76 and "exists already" in done.stderr
    assert taken.files["weights.bin"] == b"theirs" and len(taken.commits) == 1
    del taken.files["weights.bin"]
    assert pusher.push("--yes").returncode == 0
    taken.commit("theirs")
    done = pusher.push("--yes")
    assert done.returncode == 76 and "did not push" in done.stderr


def test_a_private_base_and_a_private_repository(pusher: Pusher) -> None:
    pusher.hub.repositories["acme/tiny"].private = True
    done = pusher.push("--yes")
    assert (
        done.returncode == 76 and "private" in done.stderr and NAME not in pusher.hub.repositories
    )
    assert pusher.push("--yes", "--private").returncode == 0
    assert pusher.hub.repositories[NAME].private
    del pusher.hub.repositories["acme/tiny"]
    shutil.rmtree(pusher.project / "hf", ignore_errors=True)
    done = pusher.push("--yes")
    assert done.returncode == 76 and "not on this hub" in done.stderr


def test_a_base_from_a_folder_is_refused_unless_merged(
    trained: Path, tiny_model: Path, box: Box
) -> None:
    with standin_hub() as hub:
        one = Pusher(trained, hub)
        done = one.push("--yes")
        assert done.returncode == 76 and "--merged" in done.stderr, done.stderr
        assert one.push("--yes", "--merged").returncode == 66
        assert box.run("merge", "--run", "demo", cwd=trained).code == 0
        done = one.push("--yes", "--merged")
        assert done.returncode == 0, done.stderr
        assert {"proof.json", "model.safetensors", "README.md"} <= {*hub.repositories[NAME].files}


def test_a_path_of_this_machine_is_refused(pusher: Pusher) -> None:
    card = pusher.folder / "README.md"
    card.write_text(card.read_text() + "\nTrained on /home/ada/secret/rows.jsonl\n")
    facts = {k: v for k, v in read_json(pusher.folder / MANIFEST).items() if k != "files"}
    seal(pusher.folder, facts)
    done = pusher.push("--yes")
    assert done.returncode == 76 and "/home/ada" in done.stderr and not pusher.hub.requests


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /home/ada/x", "/home/ada"),
        ("~/models/x", "~/models"),
        ("https://example.org/home/ada", None),
        ("8/data/9 and a/tmp/b", None),
        ('"/sft/outputs/demo"', "/sft/outputs"),
        ("/v1/chat/completions", None),
    ],
)
def test_what_counts_as_a_path(text: str, found: str | None) -> None:
    assert local_path(text) == found


def test_usage(trained: Path, box: Box) -> None:
    for words in ((), ("--to", "demo"), ("--to", "a/b/c"), ("--to", "../demo")):
        assert box.run("push", "--run", "demo", *words, cwd=trained).code == 2
