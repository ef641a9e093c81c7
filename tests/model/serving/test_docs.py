"""The Python examples of docs/elsewhere.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.system.uv import find_uv
from tests.box import ROOT, Box
from tests.model.plain_inference import plain_answer
from tests.model.serving.conftest import Serve

QUESTION = "How many clips are 3 and 21?"
LOCK = ROOT / "images" / "clients-test.lock"


def examples(*, training: bool = False, langchain: bool = False) -> list[str]:
    """Return the examples that train, that need LangChain, or the others."""
    text = (ROOT / "docs/elsewhere.md").read_text()
    found = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    kinds = [("SFTTrainer" in one, "langchain" in one) for one in found]
    return [one for one, kind in zip(found, kinds, strict=True) if kind == (training, langchain)]


def run(
    code: str, project: Path, python: Path = Path(sys.executable)
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=project,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_examples(trained: Path, tiny_model: Path, box: Box, serve: Serve) -> None:
    assert box.run("merge", "--run", "demo", "--dtype", "fp32", cwd=trained).code == 0
    one = serve(trained, "--run", "demo")
    snippets = examples()
    assert len(snippets) == 3
    for snippet in snippets:
        code = snippet.replace("BASE", str(tiny_model)).replace(":8000/", f":{one.port}/")
        done = run(code, trained)
        assert done.stdout.rstrip("\n") == plain_answer(trained, QUESTION), snippet


@pytest.mark.long  # imports TRL in a process of its own: 20 s
def test_trl_goes_on_from_the_adapter(trained: Path, tiny_model: Path) -> None:
    """Its first loss is that of the tuned model, far below the base's, and the weights move."""
    from safetensors.torch import load_file

    (code,) = examples(training=True)
    code = code.replace("BASE", str(tiny_model))
    code += (
        "\nprint('losses', *(one['loss'] for one in trainer.state.log_history if 'loss' in one))"
    )
    out = run(code, trained).stdout
    losses = [float(word) for word in out.split("losses")[-1].split()]
    fresh = code.replace(
        'PeftModel.from_pretrained(base, "outputs/demo/adapter", is_trainable=True)', "base"
    ).replace('trainer.save_model("continued")', "")
    before = [float(word) for word in run(fresh, trained).stdout.split("losses")[-1].split()]
    assert len(losses) == 4 and losses[0] < before[0] - 1
    old, new = (
        load_file(trained / folder / "adapter_model.safetensors")
        for folder in ("outputs/demo/adapter", "continued")
    )
    assert old.keys() == new.keys()
    assert any(not old[name].equal(new[name]) for name in old)


@pytest.mark.long  # 40 MB of packages in an environment of their own
def test_langchains_client(
    trained: Path, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    venv, uv = tmp_path_factory.mktemp("clients"), str(find_uv())
    for argv in (
        [uv, "venv", "-q", "--python", "3.11", "--clear", str(venv)],
        [uv, "pip", "install", "-q", "--require-hashes", "--python", str(venv), "-r", str(LOCK)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"LangChain's client can't be installed: {done.stderr[-300:]}")
    one = serve(trained, "--run", "demo")
    (code,) = examples(langchain=True)
    code = code.replace(":8000/", f":{one.port}/")
    code += f"\nprint(''.join(piece.content for piece in model.stream({QUESTION!r})))"
    answer = plain_answer(trained, QUESTION)
    assert run(code, trained, venv / "bin/python").stdout.splitlines() == [answer, answer]
