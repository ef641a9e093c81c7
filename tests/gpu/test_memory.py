"""Memory on a GPU: rows that do not fit are halved before step 1, `auto` fills what is free, and
what attention costs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gpu.conftest import Stage

pytestmark = pytest.mark.gpu

# A share of the GPU's memory, so that a large one is small for this test; then the stage itself.
SMALL = (
    "import sys, torch; torch.cuda.set_per_process_memory_fraction(min(1.0, 3e9 / torch.cuda.mem_get_info()[1]));"
    "from sftplay.cli import main; sys.exit(main(sys.argv[1:]))"
)
# One attention, forward and backward, with and without a padding mask: milliseconds, peak bytes,
# kernel.
MEASURE = """
import json, sys, time, torch
from torch.nn.functional import scaled_dot_product_attention as attend
from sftplay.model.forward.attention import _Operators, name_of
found = []
for length in (1024, 4096, 8192):
    for padded in (False, True):
        q, k, v = (torch.randn(2, 9, length, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        mask = torch.ones(length, length, dtype=torch.bool, device="cuda").tril()[None, None].expand(2, 1, -1, -1) if padded else None
        step = lambda: attend(q, k, v, attn_mask=mask, is_causal=mask is None).sum().backward()
        with _Operators() as seen:
            step()
        torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats(); base = torch.cuda.memory_allocated()
        began = time.perf_counter()
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        found.append({"length": length, "padding_mask": padded, "ms": (time.perf_counter() - began) * 100,
                      "bytes": torch.cuda.max_memory_allocated() - base, "kernel": name_of(seen.names, "sdpa")})
print("FOUND " + json.dumps(found))
"""


def test_rows_that_do_not_fit_are_halved_and_the_effective_batch_stays(
    stage: Stage, project: Path
) -> None:
    argv = ("train", "--config", "gpu.yaml", "--run", "small", "--set", "train.batch_size=512", "--set", "train.max_steps=1",
            "--set", "train.gradient_checkpointing=false")  # fmt: skip
    ran = stage("bnb", *argv, cwd=project, python=("-c", SMALL))
    assert ran.code == 0, ran.text[-3000:]
    effective = json.loads((project / "outputs" / "small" / "run.json").read_text())["effective"]
    assert effective["effective_batch"] == 512 and "ran out of GPU memory" in effective["batch"]


def test_auto_says_what_it_counted(stage: Stage, project: Path) -> None:
    argv = (
        "train",
        "--config",
        "gpu.yaml",
        "--run",
        "auto",
        "--set",
        "train.batch_size=auto",
        "--set",
        "train.max_steps=1",
    )
    ran = stage("bnb", *argv, cwd=project)
    assert ran.code == 0, ran.text[-3000:]
    effective = json.loads((project / "outputs" / "auto" / "run.json").read_text())["effective"]
    assert effective["effective_batch"] == 16 and "free" in effective["batch"]


@pytest.mark.parametrize("stack", ["bnb", "unsloth"])
def test_attention_without_a_padding_mask_is_on_its_flash_path(
    stage: Stage, project: Path, stack: str
) -> None:
    ran = stage(stack, cwd=project, python=("-c", MEASURE))
    assert ran.code == 0, ran.text[-3000:]
    found = json.loads(ran.text.partition("FOUND ")[2].splitlines()[0])
    for row in found:
        print(f"\n{stack} {row}")
        if not row["padding_mask"]:
            assert row["kernel"] in ("sdpa/flash", "sdpa/cudnn"), row
