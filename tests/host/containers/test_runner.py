"""Every stage in the real cpu image, by the tasks that a person types, in a project that is not
root's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.containers import available

pytestmark = pytest.mark.docker

OWNER = 4711  # whom the project belongs to, where root runs these tests


@pytest.fixture
def engine_host() -> str:
    shelf = available.find()
    if shelf.engine is None:
        pytest.skip(f"no container engine: {shelf.problem}")
    if "cpu" not in shelf.present:
        pytest.skip("the cpu image of this checkout is not here: inv image.build cpu")
    return shelf.engine.host


def test_from_raw_rows_to_a_merged_model(
    checkout: Path, tiny_model: Path, engine_host: str, tmp_path: Path
) -> None:
    (checkout / "data" / "raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for path in tiny_model.rglob("*"):
        path.chmod(0o644)
    for folder in (
        tiny_model,
        *list(tiny_model.parents)[:3],
        tmp_path,
        *list(tmp_path.parents)[:2],
    ):
        folder.chmod(folder.stat().st_mode | 0o055)
    owner = OWNER if os.geteuid() == 0 else os.getuid()
    if os.geteuid() == 0:
        for path in (checkout, *checkout.rglob("*")):
            os.chown(path, owner, owner)

    values = [
        f"model.name={tiny_model}",
        "train.method=lora",
        "train.max_steps=2",
        "train.batch_size=2",
        "model.max_length=256",
    ]
    values += ["data.val_share=0.2", "data.test_share=0"]

    def inv(*words: str) -> str:
        end = subprocess.run(
            [sys.executable, "-m", "sftplay.host.cli", *words, "--runner", "docker"]
            + [word for value in values for word in ("--set", value)],
            cwd=checkout,
            env={
                **os.environ,
                "PYTHONPATH": str(checkout),
                "DOCKER_HOST": engine_host,
                "SFTPLAY_CACHE": str(checkout / "cache"),
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        assert end.returncode == 0, end.stderr
        last = json.loads((checkout / "outputs/.last-start.json").read_text())
        assert (last["runner"], last["reason"]) == ("docker", "asked for")
        return end.stdout

    inv("full-pipeline", "--style", "Be brief.")
    inv(
        "train-unsloth", "--run", "demo", "--set", "train.device=cpu"
    )  # preflight writes a hand-over, as whoever runs this
    assert inv("infer", "--run", "demo", "--prompt", "What is 2 + 2?").strip()
    inv("merge", "--run", "demo")

    stamp = json.loads((checkout / "outputs" / "demo" / "backend.json").read_text())
    start = json.loads((checkout / "outputs" / "demo" / "launch" / "start-002.json").read_text())
    assert (stamp["stack"], stamp["device"], stamp["image_digest"]) == (
        "cpu",
        "cpu",
        start["image"],
    )
    assert stamp["fallback"]["reason"] == "no_gpu"
    assert start["image"].startswith("sha256:")
    assert (checkout / "outputs" / "demo" / "merged" / "config.json").is_file()
    made = [path for name in ("data", "outputs", "cache") for path in (checkout / name).rglob("*")]
    assert {path.lstat().st_uid for path in made} == {owner}, [
        p for p in made if p.lstat().st_uid != owner
    ]
