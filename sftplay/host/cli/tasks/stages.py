"""One task for each stage, made from the stage table, and the pipeline of the data stages."""

from __future__ import annotations

from invoke.context import Context

from sftplay.call import StageCall
from sftplay.host.cli.stage_task import stage_task
from sftplay.host.cli.task import task
from sftplay.stages import BY_NAME

process = stage_task("process", "Read data/raw in any known format, check it, split it.")


style = stage_task("style", "Put a style prompt into every conversation's system turn.")


render = stage_task("render", "Apply the chat template: pairs of input and target.")


tokenize = stage_task(
    "tokenize", "Turn rendered rows into ids and labels (train does it where needed)."
)


data_show = stage_task("show", "Print rows as the model sees them, trained text in colour.")


data_preview = stage_task(
    "preview",
    "Print the first rows of FILE as they would be read and trained; writes nothing.",
    raw_files=True,
)


fetch = stage_task(
    "fetch",
    "Bring the model and hub datasets into the cache (stages that need them do so themselves).",
)


@task(
    help={
        "style": "the style prompt (default: the config's style.prompt; none: the step is skipped)",
        "config": "config file (default: configs/run_bnb.yaml)",
        "set": "change one config value; may be repeated",
        "runner": "auto, docker, local or active",
    },
    iterable=["set_"],
)
def full_pipeline(
    c: Context,
    style: str | None = None,
    config: str | None = None,
    set_: list[str] | None = None,
    runner: str = "auto",
) -> int:
    """Do process, style and render in one go."""
    from sftplay.host.launch.request import LaunchRequest
    from sftplay.host.launch.stage import start_pipeline

    return start_pipeline(
        LaunchRequest(StageCall(BY_NAME["process"], config, None, tuple(set_ or ())), runner), style
    )


train = stage_task("train", "Fine-tune; brings missing or stale data stages up to date first.")


train_bnb = stage_task(
    "train", "Fine-tune with BitsAndBytes.", name="train-bnb", overrides=["backend=bnb"]
)


train_bnb_tb = stage_task(
    "train",
    "Start TensorBoard, leave it running, and fine-tune with BitsAndBytes.",
    name="train-bnb-tb",
    overrides=["backend=bnb"],
    tensorboard=True,
)


train_unsloth = stage_task(
    "train",
    "Fine-tune with Unsloth; if it cannot run, BnB takes over.",
    name="train-unsloth",
    overrides=["backend=unsloth"],
)


train_unsloth_tb = stage_task(
    "train",
    "Start TensorBoard and fine-tune with Unsloth; if it cannot run, BnB takes over.",
    name="train-unsloth-tb",
    overrides=["backend=unsloth"],
    tensorboard=True,
)


evaluate = stage_task(
    "eval", "Loss, perplexity and text metrics on the val split, base against tuned."
)


eval_test = stage_task(
    "eval", "Evaluate on the test split.", name="eval-test", fixed={"split": "test"}
)


eval_quick = stage_task(
    "eval",
    "Evaluate on 200 rows of the val split.",
    name="eval-quick",
    fixed={"split": "val", "samples": 200},
)


eval_full = stage_task(
    "eval", "Evaluate on val and test, every row.", name="eval-full", fixed={"split": "all"}
)


infer = stage_task(
    "infer",
    "Chat with the tuned model; --prompt for one answer, --base for the model before training.",
)


infer_interactive = stage_task(
    "infer",
    "Chat: history, streamed tokens, /reset, /system, /exit.",
    name="infer-interactive",
    without=["prompt", "input", "output"],
)


infer_batch = stage_task(
    "infer",
    "Answer a file of prompts (txt or jsonl) into a jsonl file; continues where it was stopped.",
    name="infer-batch",
    without=["prompt"],
    required="input",
)


serve = stage_task(
    "serve",
    "Serve the tuned model and its base on 127.0.0.1, for any OpenAI client; Ctrl-C ends it.",
)


export = stage_task(
    "export",
    "Make a GGUF file for llama.cpp and Ollama, with a proof that it is the same model.",
)


merge = stage_task(
    "merge", "Make one model folder out of base and adapter, with a proof that they agree."
)
