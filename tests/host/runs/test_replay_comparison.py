"""A run and its replay compared: losses, and the bytes of the weights."""

from __future__ import annotations

import json
import shutil

from sftplay.host.runs.replay_comparison import compare
from sftplay.manifest import seal
from sftplay.runs import Run
from tests.host.runfolders import write_run
from tests.host.runs.replayable import flip


def test_losses_and_bytes_are_compared(demo: Run) -> None:
    same = write_run("same")
    shutil.rmtree(same.adapter)
    shutil.copytree(demo.adapter, same.adapter)
    compared = compare(demo, same, whole=True)
    assert (len(compared.points), compared.largest, compared.files) == (
        20,
        0,
        {"adapter_model.safetensors": True},
    )
    assert compared.is_same(exact=True)

    flip(same.adapter / "adapter_model.safetensors")
    seal(same.adapter, {})
    assert not compare(demo, same, whole=True).is_same(exact=True)
    assert compare(demo, same, whole=False).is_same(exact=True)

    steps = same.attempts()[0].steps
    points = [json.loads(line) for line in steps.read_text().splitlines()]
    points[0]["loss"] *= 1.001
    steps.write_text("".join(json.dumps(point) + "\n" for point in points))
    near = compare(demo, same, whole=False)
    assert not near.is_same(exact=True)
    assert near.is_same(exact=False)
    steps.unlink()
    assert not compare(demo, same, whole=False).is_same(
        exact=False
    )  # nothing to compare is not the same
