"""fetch: hub datasets, by the real command and the hub's own client library, against a server on
loopback that answers as the hub does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.model.hub.dataset_hub import COMMIT, serving

ROOT = Path(__file__).resolve().parents[2]
ROWS = b"".join(b'{"question": "What is %d?", "answer": "%d"}\n' % (n, n) for n in range(30))
FILES = {
    "README.md": b"# rows",
    "dataset_infos.json": b'{"default": {"features": {}}}',
    "loader.py": b"raise SystemExit",
    "main/train.jsonl": ROWS,
    "socratic/train.jsonl": ROWS.replace(b"What", b"Why"),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serving("owner/rows", FILES) as address:
        yield address


@dataclass(frozen=True)
class Place:
    """A project with a config and an empty cache."""

    folder: Path

    def run(
        self, stage: str, raw: str, endpoint: str, *args: str, terminal: str = ""
    ) -> subprocess.CompletedProcess[str]:
        words = [stage, "--config", "c.yaml", "--set", f"data.raw={raw}", *args]
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "HUGGING"))
        }
        environment |= {
            "PYTHONPATH": str(ROOT),
            "SFTPLAY_CACHE": str(self.folder / "cache"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "SFTPLAY_TERMINAL": terminal,
        }
        argv = [sys.executable, "-m", "sftplay", *words]
        return subprocess.run(
            argv, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "c.yaml").write_text("backend: bnb\n")
    return Place(tmp_path)


def test_a_dataset_goes_from_the_hub_to_rows_and_later_ones_need_no_hub(
    place: Place, hub: str
) -> None:
    done = place.run("fetch", "owner/rows", hub, "--only", "data")
    assert done.returncode == 0, done.stderr
    assert "main/train.jsonl, socratic/train.jsonl" in done.stderr
    assert not [*place.folder.rglob("loader.py"), *place.folder.rglob("dataset_infos.json")]
    record = json.loads((place.folder / "cache/datasets/owner--rows@main.json").read_text())
    assert record["revision"] == COMMIT
    again = place.run("fetch", "owner/rows", "http://127.0.0.1:9", "--only", "data")
    assert (again.returncode, "in the cache already" in again.stderr) == (0, True)
    done = place.run("process", "owner/rows", "http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "60 rows in data/processed" in done.stderr


def test_the_hubs_own_bars_are_not_drawn(place: Place, hub: str) -> None:
    """On a terminal too: bytes on disk are counted into ours, from any number of threads."""
    done = place.run("fetch", "owner/rows", hub, "--only", "data", terminal="80")
    assert done.returncode == 0, done.stderr
    assert not re.search("Fetching|Reconstructing|Downloading", done.stderr)


def test_bytes_on_disk_are_counted_into_our_bar() -> None:
    from sftplay.data.progress import ProgressBar
    from sftplay.model.runtime.hub_progress import counting_into

    ours = ProgressBar(None, "B", "fetch")
    bars = counting_into(ours)
    disk = bars(desc="Reconstructing (incomplete total...)", total=0, initial=0, unit="B")
    network = bars(desc="Downloading bytes", total=0, unit="B", unit_scale=True)
    with bars(desc="Fetching 2 files", total=2) as files:
        for size in (300, 700):
            disk.total += size
            network.update(size // 2)
            disk.update(size)
            files.update(1)
    disk.close()
    assert (ours.done, ours.total) == (1000, 1000)


def test_some_of_its_files(place: Place, hub: str) -> None:
    assert place.run("fetch", "owner/rows:socratic", hub, "--only", "data").returncode == 0
    done = place.run("process", "owner/rows:socratic", hub)
    assert done.returncode == 0, done.stderr
    assert "30 rows in data/processed" in done.stderr
    assert (
        place.run("process", "owner/rows", hub).returncode == 66
    )  # that is another choice of files


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        ("owner/nothing", 66, "the hub has no dataset owner/nothing"),
        ("owner/rows@v9", 66, "the hub has no dataset owner/rows at revision v9"),
        ("owner/gated", 77, "the dataset owner/gated is gated"),
        ("owner/rows:test", 66, "holds no data file that fits test"),
    ],
)
def test_what_can_not_be_fetched(place: Place, hub: str, raw: str, code: int, words: str) -> None:
    done = place.run("fetch", raw, hub, "--only", "data")
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(place.folder.glob("cache/datasets/*"))


def test_what_the_disk_has_no_room_for_is_not_begun(place: Place, tmp_path: Path) -> None:
    """For a dataset of data.raw, and for one that a task file of lm-eval reads."""
    (tmp_path / "t.yaml").write_text("task: t\ndataset_path: owner/rows\ntest_split: train\n")
    name = "main/train.jsonl"
    for more in (("--only", "data"), ("--tasks", "t.yaml")):
        with serving("owner/rows", FILES, {name: 1 << 60}) as hub:
            done = place.run("fetch", "owner/rows", hub, *more)
        assert done.returncode == 74, done.stderr
        assert "the dataset owner/rows requires 1152921.5 TB, and the disk has" in done.stderr
        assert "SFTPLAY_CACHE" in done.stderr and not [*tmp_path.rglob("train.jsonl")]
        with serving("owner/rows", FILES, {"loader.py": 1 << 60}) as hub:  # not wanted
            done = place.run("fetch", "owner/rows", hub, *more)
        assert done.returncode == 0 and "from the Hugging Face hub (2.6 kB)" in done.stderr, (
            done.stderr
        )
        with serving("owner/rows", FILES, {name: 1 << 60}) as hub:  # in the cache already
            (tmp_path / "cache/datasets/owner--rows@main.json").unlink()
            done = place.run("fetch", "owner/rows", hub, *more)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tmp_path / "cache")


def test_no_network(place: Place) -> None:
    done = place.run("fetch", "owner/rows", "http://127.0.0.1:9", "--only", "data")
    assert done.returncode == 69, done.stderr
    assert "the hub can't be reached" in done.stderr
    assert "data.raw" in done.stderr
