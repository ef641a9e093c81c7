"""The one list of stages.

A stage is a row here and a module with one public function, `run(job)`. One module although it
is long: a row is read next to the fields that it fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay.errors import UsageError
from sftplay.places import SPLITS

if TYPE_CHECKING:  # pydantic takes 0.2 s: not for --list and --help, which need the table only
    from sftplay.settings import Settings


@dataclass(frozen=True)
class Option:
    """A stage's own command-line option, in addition to --config, --run and --set.

    Attributes:
        kind: `flag` (true when given), or the type of its value.
        internal: for the launcher, not for people: tasks don't show it.
        setting: the config's key that it stands for, where there is one.
        once: for one start; a refresh of a data stage does not repeat it.
        path: its value is a path that the stage reads, or writes (`read`, `write`): a container
            gets it mounted.
        packages: what the stage imports besides its stack where this is given (`lm-eval`,
            `export`).
        bare: the value that it has when it stands alone; empty: it always takes one.
    """

    name: str
    help: str
    kind: type | str = "flag"
    choices: tuple[str, ...] = ()
    default: Any = None
    internal: bool = False
    setting: str = ""
    once: bool = False
    path: str = ""
    packages: str = ""
    bare: str = ""

    @property
    def key(self) -> str:
        """Name in `Job.options`."""
        return self.name.removeprefix("--").replace("-", "_")

    def parse(self, text: str | bool) -> Any:
        """Return the value of a word that a person typed.

        Raises:
            UsageError: not a whole number, or none of the choices (2).
        """
        if text is True and self.bare:
            return self.bare
        if isinstance(text, bool) or self.kind is str:
            value: Any = text
        else:
            try:
                value = int(text)
            except ValueError:
                raise UsageError(f"{self.name} requires a whole number, got {text!r}") from None
        if self.choices and value not in self.choices:
            raise UsageError(
                f"{self.name} does not know {text!r}",
                todo=f"{self.name} {' or '.join(self.choices)}",
            )
        return value


@dataclass(frozen=True)
class Stage:
    """One row: everything the launcher has to know about a stage before it starts it."""

    name: str
    module: str
    help: str
    writes: str
    network: bool = False
    gpu: bool = False
    # reads data.raw: `fetch` runs before it where a hub dataset named there is missing
    raw: bool = False
    model: bool = False  # reads the model cache: `fetch` runs before it where the model is missing
    run: bool = False  # works on a run folder
    writes_cache: bool = False  # writes into the cache without needing the network
    # writes below data/ (never into data/raw); every other stage sees it read-only
    writes_data: bool = False
    interactive: bool = False
    # listens here in its container; published on the port of 127.0.0.1 that --port names
    port: int = 0
    packages: str = ""  # as an option's, but always
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Job:
    """Argument of a stage's `run`.

    Attributes:
        settings: the resolved config.
        config_file: the file it came from, for messages.
        overrides: the `--set` values, as given: a data stage stamps its own, and a later `train`
            keeps them.
        options: the stage's own options by key; one that was not given holds its default.
        given: overrides and options that an earlier command of this data stage was given, where
            another stage (train) runs it; None: this job is that command.
    """

    settings: Settings
    config_file: Path
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[tuple[str, ...], Mapping[str, Any]] | None = None

    @property
    def run_name(self) -> str:
        """Name of the run folder this job works on."""
        assert self.settings.run.name is not None  # load_config fills it in
        return self.settings.run.name


_RESUME = Option("--resume", "continue a run that was stopped, from its newest whole checkpoint")
_STRICT = Option(
    "--strict", "refuse to resume when versions, image or kernel changed (else warned)"
)
_STRICT_DATA = Option(
    "--strict",
    "fail (65) on warnings and on rows set aside; what was there before stays",
    once=True,
)
SERVE_PORT = 8000
QUANTS = ("f16", "q8_0", "q4_k_m")
NEWEST_GGUF = "newest"  # `--gguf` without a file
_EVALUATED = ("val", "test", "all")

STAGES: tuple[Stage, ...] = (
    Stage(
        "process",
        "sftplay.data.process",
        "read data/raw in any known format, check it, split it",
        "data/processed",
        raw=True,
        writes_data=True,
        options=(_STRICT_DATA,),
    ),
    Stage(
        "style",
        "sftplay.data.style",
        "put a style prompt into the system turn",
        "data/processed_with_style",
        writes_data=True,
        options=(
            Option(
                "--style",
                "the style prompt (else the config's style.prompt)",
                str,
                setting="style.prompt",
            ),
            Option(
                "--mode",
                "before, after or instead of the system turn that is there",
                str,
                ("prepend", "append", "replace"),
                setting="style.mode",
            ),
            Option("--preview", "show rows before and after, write nothing", once=True),
            _STRICT_DATA,
        ),
    ),
    Stage(
        "render",
        "sftplay.data.render",
        "apply the chat template: pairs of input (not trained on) and target (trained on)",
        "data/rendered",
        model=True,
        writes_data=True,
        options=(
            Option("--no-style", "render data/processed even where styled data is there"),
            _STRICT_DATA,
        ),
    ),
    Stage(
        "tokenize",
        "sftplay.data.tokenize",
        "turn rendered rows into ids and labels",
        "data/tokenized",
        model=True,
        writes_data=True,
        options=(_STRICT_DATA,),
    ),
    Stage(
        "show",
        "sftplay.data.show",
        "print tokenized rows as the model sees them, trained text marked",
        "nothing",
        model=True,
        options=(
            Option("--row", "the row with this id (else the first ones)", str),
            Option("--split", "of which split", str, SPLITS, "train"),
            Option("--count", "so many rows", int, default=3),
        ),
    ),
    Stage(
        "preview",
        "sftplay.data.preview",
        "print the first rows of raw files as they would be read and trained, and what was guessed",
        "nothing",
        raw=True,
        options=(Option("--count", "so many rows of each source", int, default=3),),
    ),
    Stage(
        "fetch",
        "sftplay.model.fetch",
        "bring the model, and hub datasets of data.raw, into the cache",
        "the cache",
        network=True,
        options=(
            Option("--only", "the model, or the data (else both)", str, ("model", "data")),
            Option(
                "--tasks",
                "only the datasets of these tasks of lm-eval: FILE.yaml or NAME, with commas between them",
                str,
                packages="lm-eval",
            ),
            Option("--trust-tasks", "run the Python that a task file names"),
        ),
    ),
    Stage(
        "train",
        "sftplay.model.train",
        "fine-tune; brings missing or stale data stages up to date first",
        "outputs/<run>",
        gpu=True,
        raw=True,
        model=True,
        run=True,
        writes_data=True,  # brings stale data stages up to date
        options=(
            _RESUME,
            _STRICT,
            Option("--no-auto", "refuse (76) instead of bringing stale data stages up to date"),
            Option("--init-adapter", "folder of an adapter to start from", str, path="read"),
            Option(
                "--handed-over-from",
                "the attempt that asked for this one (the launcher sets it)",
                str,
                internal=True,
            ),
            Option("--attempt", "number of the attempt (the launcher sets it)", int, internal=True),
            Option(
                "--reshard",
                "resume with another number of ranks; no longer byte-identical",
            ),
            Option("--nodes", "machines that train together, this one included", int),
            Option("--node-rank", "number of this machine, from 0", int),
            Option("--rendezvous", "HOST:PORT of machine 0, where the others find it", str),
            Option("--interface", "network interface of the ranks' traffic, such as eth0", str),
            Option(
                "--network",
                "container network of the ranks of several machines (default: bridge; host: the machine's own)",
                str,
            ),
            Option("--plan", "plan of the ranks (the front sets it)", str, internal=True),
        ),
    ),
    Stage(
        "eval",
        "sftplay.model.evaluate",
        "loss, perplexity and text metrics, base against tuned",
        "outputs/<run>/eval",
        gpu=True,
        model=True,
        run=True,
        options=(
            Option("--split", "which rows", str, _EVALUATED, "val"),
            Option("--samples", "only so many rows, the same ones every time", int),
            Option(
                "--tasks",
                "tasks of lm-eval instead of the run's rows: FILE.yaml or NAME, with commas between them",
                str,
                packages="lm-eval",
            ),
            Option("--limit", "only the first rows of each task, so many", int),
            Option("--chat-template", "put the prompts of tasks into the run's chat template"),
            Option("--trust-tasks", "run the Python that a task file names"),
            Option("--write-task", "only write the split as a task of lm-eval, for other models"),
            Option(
                "--portable",
                "only load the adapter by plain PEFT and compare its val loss",
                internal=True,
            ),
        ),
    ),
    Stage(
        "infer",
        "sftplay.model.infer",
        "chat, one prompt, or a file of prompts",
        "outputs/<run>/predictions",
        gpu=True,
        model=True,
        run=True,
        interactive=True,
        options=(
            Option("--prompt", "one prompt, one answer", str),
            Option("--input", "a file of prompts, txt (one a line) or jsonl", str, path="read"),
            Option(
                "--output",
                "where the answers go (default: outputs/<run>/predictions/<file>.jsonl)",
                str,
                path="write",
            ),
            Option("--system", "system prompt of the chat", str),
            Option("--no-style", "without the style prompt that the run was trained with"),
            Option("--base", "talk to the model as it was before training"),
            Option(
                "--gguf",
                "answer from the run's GGUF file with llama.cpp; without FILE: its newest one",
                str,
                path="read",
                bare=NEWEST_GGUF,
                packages="export",
            ),
        ),
    ),
    Stage(
        "serve",
        "sftplay.model.serve",
        "an OpenAI-compatible endpoint for the tuned model and its base",
        "outputs/<run>/serve (its lock)",
        gpu=True,
        model=True,
        run=True,
        port=SERVE_PORT,
        options=(
            Option("--base", "only the model as it was before training"),
            Option("--merged", "the merged model instead of base and adapter: faster, no base"),
            Option("--port", "the port to listen on", int, default=SERVE_PORT),
            Option("--host", "the address to listen on", str, default="127.0.0.1"),
            Option(
                "--key-file", "a file with the API key that clients have to send", str, path="read"
            ),
            Option("--system", "system prompt where a conversation brings none", str),
            Option("--no-style", "without the style prompt that the run was trained with"),
        ),
    ),
    Stage(
        "numerics",
        "sftplay.model.numerics.check",
        "compare each method and precision with plain PyTorch on this machine",
        "the cache",
        gpu=True,
        writes_cache=True,
    ),
    Stage(
        "accept",
        "sftplay.model.accept",
        "prove a machine: numerics, both backends, memory, speed; no network, no download",
        "outputs/.accept",
        gpu=True,
        options=(
            Option(
                "--minutes", "stop after so many minutes, least important last", int, default=10
            ),
            Option(
                "--out",
                "file for the result (default: outputs/.accept/result.json)",
                str,
                path="write",
            ),
            Option("--model", "folder of a real model instead of random weights", str, path="read"),
        ),
    ),
    Stage(
        "push",
        "sftplay.model.push",
        "publish the adapter, or the merged model, on the hub",
        "a repository on the hub",
        network=True,
        run=True,
        options=(
            Option("--to", "the repository: OWNER/NAME", str),
            Option("--merged", "the merged model instead of the adapter"),
            Option("--gguf", "the GGUF files instead of the adapter"),
            Option("--private", "a repository that only you and those you invite can see"),
            Option("--yes", "send it; otherwise it is only shown"),
        ),
    ),
    Stage(
        "merge",
        "sftplay.model.merge",
        "one model folder out of base and adapter, with a proof that they agree",
        "outputs/<run>/merged",
        model=True,
        run=True,
        options=(
            Option("--dtype", "number format of the merged weights", str, ("bf16", "fp16", "fp32")),
        ),
    ),
    Stage(
        "export",
        "sftplay.model.export",
        "a GGUF file for llama.cpp and Ollama, with a proof that it is the same model",
        "outputs/<run>/gguf",
        model=True,
        run=True,
        packages="export",
        options=(
            Option("--to", "the format", str, ("gguf",), "gguf"),
            Option("--quant", "number format of the file (default: q8_0)", str, QUANTS),
            Option("--adapter", "the adapter alone, in f16, for use with the base's own GGUF file"),
        ),
    ),
)

BY_NAME: Mapping[str, Stage] = {stage.name: stage for stage in STAGES}
