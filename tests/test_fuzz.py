"""Random inputs to everything that reads files of others: errors of ours, and nothing else.

An everyday run tries about 500 inputs, always the same; the long mode (`inv test --long`) more than
20,000 new ones. What was found stands in FOUND.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay import handover, runs
from sftplay.cli import make_job
from sftplay.config import load_config
from sftplay.data import process
from sftplay.data.rendering.template import checked_template
from sftplay.data.tokenizing.tokenizer import load_backend, read_tokenizer
from sftplay.errors import EXIT_MEANINGS, SftplayError
from sftplay.freshness import read_stamp as read_data_stamp
from sftplay.host.batch import file as batch_file
from sftplay.host.batch.expand import expand
from sftplay.host.batch.plan import decide
from sftplay.host.estimate.model_shape import read_shape
from sftplay.host.protocol import records
from sftplay.host.report import command as report
from sftplay.host.runs import compare, detail, live, table
from sftplay.host.runs.view import read_run
from sftplay.input_limits import check_template, input_limits
from sftplay.locks import read_note
from sftplay.manifest import problem_with
from sftplay.model.answers.prompt_file import read_prompts
from sftplay.settings import Settings
from sftplay.stamp import read_stamp
from tests.data.models import CHATML, save_model
from tests.host.runfolders import write_data, write_eval, write_run
from tests.strategies import JSON, WORDS, spoiled, spoiled_json, torn

EVERY_DAY, AT_LENGTH = 63, 2_600  # examples of each of the eight targets


@dataclass(frozen=True)
class Target:
    """What is tried: inputs, and who reads them.

    Attributes:
        inputs: made in a new empty folder, where `read` is called too.
    """

    inputs: Callable[[], st.SearchStrategy[Any]]
    read: Callable[[Any], object]


# -- configs and batch files -------------------------------------------------------------------------

CONFIG = Settings.model_validate({"run": {"name": "x"}}).model_dump(mode="json")


def _configs() -> st.SearchStrategy[bytes]:
    text = yaml.safe_dump(CONFIG).encode()
    return st.one_of(
        torn(text), spoiled(CONFIG).map(lambda value: json.dumps(value).encode()), st.binary()
    )


def _read_config(content: bytes) -> None:
    Path("c.yaml").write_bytes(content)
    load_config(Path("c.yaml"))


BATCH = {
    "sort_by": "val_loss",
    "split": "val",
    "config": "c.yaml",
    "datasets": {"a": {"raw": "data/raw", "style": "Be brief.", "set": {"data.val_share": 0.1}}},
    "experiments": [
        {"name": "one", "dataset": ["a"], "set": {"train.max_steps": 2}, "matrix": {"lora.r": [8]}}
    ],
}


def _batches() -> st.SearchStrategy[bytes]:
    return st.one_of(
        spoiled(BATCH).map(lambda value: json.dumps(value).encode()),
        torn(yaml.safe_dump(BATCH).encode()),
    )


def _read_batch(content: bytes) -> None:
    Path("c.yaml").write_text("backend: bnb\n")
    Path("b.yaml").write_bytes(content)
    parsed = batch_file.read(Path("b.yaml"))
    for experiment in expand(parsed, Path("b.yaml")):
        decide(experiment, ("val",))


# -- rows and prompts --------------------------------------------------------------------------------

ROWS: tuple[Any, ...] = (
    {"user": "a question", "assistant": "an answer", "system": "be kind"},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    {"instruction": "x", "input": "z", "output": "y"},
    {"messages": [{"role": "user", "content": "x"},
                  {"role": "assistant", "tool_calls": [{"type": "function", "function": {
                      "name": "f", "arguments": {"a": 1}}}]}],
     "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
)  # fmt: skip


@st.composite
def _rows(draw: st.DrawFn) -> tuple[str, bytes]:
    ending = draw(st.sampled_from(["jsonl", "json", "csv", "tsv"]))
    whole = draw(st.sampled_from(ROWS))
    rows = [whole, draw(spoiled(whole)), *draw(st.lists(JSON, max_size=2))]
    if ending == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif ending == "json":
        text = json.dumps(draw(st.sampled_from([rows, {"data": rows}, rows[1]])))
    else:
        between = "," if ending == "csv" else "\t"
        cells = draw(st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=3))
        text = "\n".join(between.join(row) for row in [["question", "answer"], *cells])
    content = text.encode("utf-8", "surrogatepass")
    return ending, draw(st.one_of(st.just(content), torn(content)))


def _read_rows(made: tuple[str, bytes]) -> None:
    ending, content = made
    Path("data/raw").mkdir(parents=True)
    Path(f"data/raw/rows.{ending}").write_bytes(content)
    Path("c.yaml").write_text("data: {workers: 1}\n")
    process.run(make_job("c.yaml", None, [], {}))


def _prompts() -> st.SearchStrategy[tuple[str, bytes]]:
    row = {"id": "a", "system": "s", "messages": [{"role": "user", "content": "x"}]}
    line = spoiled_json(row) | spoiled_json({"prompt": "x", "id": 3}) | spoiled_json("a prompt")
    return st.tuples(st.sampled_from(["jsonl", "txt", "jsonl.gz"]), line)


def _read_prompts(made: tuple[str, bytes]) -> None:
    ending, content = made
    Path(f"prompts.{ending}").write_bytes(content + b"\n" + content)
    list(read_prompts(Path(f"prompts.{ending}")))


# -- run folders and stamps --------------------------------------------------------------------------

RUN_FILES = (
    "run.json",
    "backend.json",
    "events.jsonl",
    "data.json",
    "config.yaml",
    "eval/val/metrics.json",
    "eval/val/samples.jsonl",
    "attempts/01-bnb/progress.json",
    "attempts/01-bnb/steps.jsonl",
    "adapter/manifest.json",
)


@lru_cache(maxsize=1)
def _whole_run() -> dict[str, bytes]:
    with _somewhere():
        run = write_run("x", handed_over=False)
        write_eval(run, intervals={"loss": (-1.0, -0.5)})
        write_data(run)
        return {name: (run.folder / name).read_bytes() for name in RUN_FILES}


@st.composite
def _run_folders(draw: st.DrawFn) -> dict[str, bytes]:
    whole, changed = _whole_run(), {}
    for name in draw(st.sets(st.sampled_from(RUN_FILES), min_size=1, max_size=3)):
        content = whole[name]
        if name.endswith(".json"):
            changed[name] = draw(spoiled_json(json.loads(content)))
        elif name.endswith(".jsonl"):
            lines = content.splitlines()
            at = draw(st.integers(0, len(lines) - 1))
            lines[at] = draw(spoiled_json(json.loads(lines[at])))
            changed[name] = b"\n".join(lines)
        else:
            changed[name] = draw(torn(content))
    return changed


def _read_run_folder(changed: dict[str, bytes]) -> None:
    good, run = write_run("good"), write_run("x")
    for one in (good, run):
        write_eval(one)
        write_data(one)
    for name, content in changed.items():
        (run.folder / name).write_bytes(content)
    table.show()
    table.show(as_json=True)
    live.status()
    live._training(read_run(run))
    assert read_run(good).problems == ()
    problem_with(run.adapter)
    for read in (
        lambda: detail.show("x"),
        lambda: report.write("x"),
        lambda: compare.compare(["good", "x"]),
    ):
        with contextlib.suppress(SftplayError):
            read()


STAMP = {"stage": "render", "source": "sha256:1", "section": {"a": 1}, "overrides": ["a=1"],
         "options": {}, "output": "sha256:2", "facts": {"eot": "x"}, "format": 3, "hash": ""}  # fmt: skip
START = {"number": 1, "nonce": "n", "argv": ["train"], "stack": "cpu", "runner": "local",
         "environment_hash": "e", "created": "2026-03-01T12:00:00+00:00", "image": "", "attempt": ""}  # fmt: skip
EXIT = {"number": 1, "nonce": "n", "code": 0, "asked": "", "ended": "now", "oom": False}
HANDOVER = {"schema": 1, "run": "x", "attempt": "01-unsloth", "nonce": "n", "source": "unsloth",
            "target": "bnb", "phase": "probe", "reason": "no_gpu", "step": 0, "message": "m"}  # fmt: skip


def _stamps() -> st.SearchStrategy[tuple[bytes, ...]]:
    note = {"who": "train", "pid": 3, "since": "now"}
    wholes = (STAMP, START, EXIT, HANDOVER, note, json.loads(_whole_run()["backend.json"]))
    return st.tuples(*(spoiled_json(whole) for whole in wholes))


def _read_stamps(contents: tuple[bytes, ...]) -> None:
    run = runs.Run("x")
    places = ("s/stamp.json", "start-001.json", "exit-001.json", "a/b/handover.json", "lock", "b")
    for place, content in zip(places, contents, strict=True):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(content)
    start = records.Start(1, "n", (), "cpu", "local", "e", "now")
    for read in (
        lambda: read_data_stamp(Path("s")),
        lambda: records.newest(Path()),
        lambda: records.read_exit(Path(), start),
        lambda: handover.read_untrusted(
            Path("a/b/handover.json"), run=run.name, attempt="01-unsloth", nonce="n"
        ),
        lambda: read_note(Path("lock")),
        lambda: read_stamp(Path("b")),
    ):
        _only_ours(read)


# -- templates and model folders ---------------------------------------------------------------------

PIECES = (
    "{{ x }}", "{{ messages }}", "{{ messages[0].content }}", "{% for m in messages %}",
    "{% for a in range(99999) %}", "{% endfor %}", "{% if messages %}", "{% elif 1 %}", "{% else %}",
    "{% endif %}", "{% break %}", "{% continue %}", "{% set n = namespace(x='a') %}",
    "{% set n.x = n.x ~ n.x %}", "{% macro f(a) %}", "{% endmacro %}", "{{ f(1) }}",
    "{{ f(f(2)) }}", "{{ m.content|trim }}", "{{ 'a' * 999999999 }}", "{{ 1 / 0 }}", "{{ loop.x }}",
    "{{ raise_exception('no') }}", "{{ strftime_now('%Y') }}", "{% generation %}",
    "{% endgeneration %}", "{{ ''.__class__ }}", "{{ x.y.z }}", "{# c #}", "{% raw %}",
    "{% endraw %}", "{%- set a = [1] + [2] -%}", "{{ a|tojson(indent=4) }}", "{{ messages[::-1] }}",
    "{{ '%s'|format(1) }}", "{% filter upper %}", "{% endfilter %}", "{% set b %}", "{% endset %}",
    "{{ m['role'] }}", "{{ (((1))) }}", "{{ 9 ** 999 }}", "{% call f(1) %}", "{% endcall %}",
    "{{ caller() }}", "{% include 'x' %}", "{% block q %}", "{% endblock %}", "{{ self.q() }}",
    "{{ dict(a=1) }}", "{{ messages|map(attribute='role')|join }}", "{{ 1|", "{%", "}}",
)  # fmt: skip


def _templates() -> st.SearchStrategy[str]:
    pieces = st.lists(st.one_of(st.sampled_from(PIECES), WORDS), max_size=12).map("".join)
    return st.one_of(pieces, torn(CHATML.encode()).map(lambda raw: raw.decode("utf-8", "replace")))


def _read_template(source: str) -> None:
    source = source.encode("utf-8", "replace").decode()
    template = checked_template(source, {"bos_token": "<s>"}, "2026-03-01", "t.jinja")
    for more in ([], [{"role": "assistant", "content": "y"}]):
        _only_ours(
            lambda more=more: template.render([{"role": "user", "content": "x"}, *more], True)
        )


MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MODEL_CONFIG = {
    "model_type": "llama", "vocab_size": 300, "hidden_size": 8, "num_hidden_layers": 1,
    "max_position_embeddings": 64, "tie_word_embeddings": True, "num_experts": 0,
}  # fmt: skip


def _whole_model(folder: Path) -> None:
    save_model(folder)
    (folder / "config.json").write_text(json.dumps(MODEL_CONFIG))
    header = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [300, 8],
                                            "data_offsets": [0, 9600]}}  # fmt: skip
    raw = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(9600))


@lru_cache(maxsize=1)
def _model_files() -> dict[str, bytes]:
    with _somewhere():
        _whole_model(Path("m"))
        return {path.name: path.read_bytes() for path in Path("m").iterdir()}


@st.composite
def _model_folders(draw: st.DrawFn) -> dict[str, bytes]:
    whole = _model_files()
    names = sorted(set(MODEL_FILES) & set(whole))
    changed = {}
    for name in draw(st.sets(st.sampled_from(names), min_size=1, max_size=2)):
        changed[name] = draw(spoiled_json(json.loads(whole[name])))
    if draw(st.booleans()):
        changed["model.safetensors"] = draw(torn(whole["model.safetensors"][:200]))
    return changed


def _read_model_folder(changed: dict[str, bytes]) -> None:
    folder = Path("model")
    folder.mkdir()
    for name, content in {**_model_files(), **changed}.items():
        (folder / name).write_bytes(content)
    for read in (read_tokenizer, load_backend, input_limits, check_template):
        _only_ours(lambda read=read: read(folder))
    _only_ours(lambda: read_shape(folder, "all-linear"))


TARGETS = {
    "configs": Target(_configs, _read_config),
    "rows": Target(_rows, _read_rows),
    "prompts": Target(_prompts, _read_prompts),
    "run folders": Target(_run_folders, _read_run_folder),
    "batch files": Target(_batches, _read_batch),
    "templates": Target(_templates, _read_template),
    "model folders": Target(_model_folders, _read_model_folder),
    "stamps": Target(_stamps, _read_stamps),
}


@contextlib.contextmanager
def _somewhere() -> Iterator[None]:
    """A new empty folder as the working directory."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    before, folder = Path.cwd(), tempfile.mkdtemp(prefix="sftplay-fuzz-", dir=place)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def _only_ours(read: Callable[[], object]) -> None:
    """Call what may fail in our words only."""
    try:
        read()
    except SftplayError as error:
        assert error.code in EXIT_MEANINGS and error.code > 1 and error.what


def _try(target: Target, value: Any) -> None:
    quiet = io.StringIO()
    with _somewhere(), warnings.catch_warnings(), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(quiet):
            _only_ours(lambda: target.read(value))


def _search(name: str, examples: int, *, again: bool) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=examples,
        derandomize=again,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs())
    def search(value: Any) -> None:
        _try(target, value)

    search()


@pytest.mark.parametrize("name", TARGETS)
def test_errors_are_ours(name: str) -> None:
    _search(name, EVERY_DAY, again=True)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_errors_are_ours_at_length(name: str) -> None:
    _search(name, AT_LENGTH, again=False)


# Inputs that once ended with another exception.
FOUND: tuple[tuple[str, Any], ...] = (
    ("run folders", {"run.json": b'{"state": "finished", "tokens_per_second": []}'}),
    ("run folders", {"data.json": b'{"report": {"rejected": {"no answer": []}}}'}),
    ("run folders", {"data.json": b'{"report": {"files": [{"rows": {}}]}}'}),
    ("run folders", {"data.json": b'{"report": {"reasoning": {"rows": "many"}}}'}),
    ("run folders", {"data.json": b'{"report": {"a": 1}, "lengths": [[-30, 1], [1e300, 2]]}'}),
    ("run folders", {"events.jsonl": b'{"time": "2026-03-01T12:00:00", "event": {"a": 1}}'}),
    ("model folders", {"config.json": b'{"text_config": [1], "num_hidden_layers": [2]}'}),
    ("model folders", {"tokenizer.json": b"{}"}),
    ("model folders", {"tokenizer_config.json": b'{"added_tokens_decoder": [1]}'}),
    ("model folders", {"tokenizer_config.json": b'{"additional_special_tokens": [{"x": 1}]}'}),
    ("model folders", {"special_tokens_map.json": b'{"eos_token": [1]}'}),
    ("batch files", b'{"config": "\\ud800\\udc00", "experiments": [{"name": "one"}]}'),
    ("batch files", b'{"config": "a\\u0000b", "experiments": [{"name": "one"}]}'),
    ("prompts", ("jsonl", b'{"messages": [{"role": [1], "content": "x"}]}')),
    ("templates", "{% break %}"),
    ("templates", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
    ("stamps", (b"[]", b"[]", b"[]", b"[]", b"[]", b"[]")),
    ("stamps", (b'{"stage": "render", "source": "", "section": {}, "x": 1}', *(b"{}",) * 5)),
)


@pytest.mark.parametrize(("name", "value"), FOUND)
def test_what_was_found(name: str, value: Any) -> None:
    _try(TARGETS[name], value)
