"""sftplay's own save path: a checkpoint exists when its manifest verifies.

And the trained weights at a run's end.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sftplay import console
from sftplay.attempts import checkpoints_in
from sftplay.errors import RefusedError, SftplayError
from sftplay.files import write_text
from sftplay.manifest import MANIFEST, sealed_folder
from sftplay.model.ranks.collectives import bytes_of_all, rank_count, this_rank
from sftplay.model.ranks.shards import whole_states
from sftplay.model.weights.hub_files import add_older_keys, save_tokenizer
from sftplay.temporary import sweep, temporary_folder
from sftplay.untrusted import read_json

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_NEEDED = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
_TRAINER_FILES = (*_NEEDED, "scaler.pt")
_RANDOM = re.compile(r"^rng_state(_\d+)?\.pth$")


# safetensors says the first two; torch's zip writer the others, depending on where in the file the
# room ran out.
_NO_ROOM = re.compile(
    r"No space left on device|os error 28|PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos"
    r"|basic_ios::clear: iostream error"
)


def save_checkpoint(trainer: Any, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Everything that an exact resume needs, whole or not at all.

    Weights as safetensors; optimizer, scheduler, scaler and random state by the Trainer's own
    writers (plain tensors and numbers, read back with weights_only); no training_args.bin. Of
    several ranks every one takes part, and rank 0 writes.
    """
    target = folder / f"checkpoint-{trainer.state.global_step}"
    ranks = rank_count()
    random = bytes_of_all(_random_state(trainer)) if ranks > 1 else []
    shards = whole_states(trainer.model, trainer.optimizer) if trainer.is_fsdp_enabled else None
    if this_rank():
        return target
    worlds = {"world_size": ranks} if ranks > 1 else {}
    with (
        sealed_folder(target, {"step": trainer.state.global_step, **worlds, **facts}) as tmp,
        disk_errors_as_such(tmp),
    ):
        if shards is None:
            save_weights(trainer.model, tmp)
            trainer._save_optimizer_and_scheduler(str(tmp))
        else:
            save_weights(trainer.model, tmp, shards[0])
            torch.save(shards[1], tmp / "optimizer.pt")
            torch.save(trainer.lr_scheduler.state_dict(), tmp / "scheduler.pt")
        trainer._save_scaler(str(tmp))
        if not random:
            trainer._save_rng_state(str(tmp))
        for rank, content in enumerate(random):
            (tmp / f"rng_state_{rank}.pth").write_bytes(content)
        trainer.state.save_to_json(str(tmp / "trainer_state.json"))
    return target


def _random_state(trainer: Any) -> bytes:
    """Return what the library writes of this rank's random states."""
    with tempfile.TemporaryDirectory() as name:
        trainer._save_rng_state(name)
        (path,) = Path(name).iterdir()
        return path.read_bytes()


def world_of(checkpoint: Path) -> int:
    """Return the number of ranks that wrote a checkpoint; it is 1 where none is recorded."""
    try:
        return int(read_json(checkpoint / MANIFEST).get("world_size", 1))
    except (SftplayError, AttributeError, TypeError, ValueError):
        return 1


def _random_files(world_size: int) -> list[str]:
    if world_size == 1:
        return ["rng_state.pth"]
    return [f"rng_state_{rank}.pth" for rank in range(world_size)]


@contextmanager
def disk_errors_as_such(folder: Path) -> Iterator[None]:
    """Both safetensors and torch tell of a full disk in exceptions of their own: an OSError again,
    which has its exit code.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if _NO_ROOM.search(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def save_weights(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Adapter or full weights as safetensors, with configuration files that do not depend on hash
    order.

    Args:
        weights: whole ones of a model that is divided among ranks.
    """
    # PEFT would save the frozen embeddings too where they carry an adapter
    options: dict[str, Any] = (
        {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    )
    if weights is not None:
        options["state_dict"] = weights
    model.save_pretrained(str(folder), safe_serialization=True, **options)
    (folder / "README.md").unlink(
        missing_ok=True
    )  # PEFT's template card; the run has a card of its own
    config = folder / "adapter_config.json"
    if config.is_file():
        value = json.loads(config.read_text(encoding="utf-8"))
        for key, item in value.items():
            if isinstance(item, list) and all(isinstance(word, str) for word in item):
                value[key] = sorted(item)
        config.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def missing_part(checkpoint: Path) -> str | None:
    """Return what a resume needs and a checkpoint does not hold, though its manifest fits; None if
    nothing is missing.
    """
    listed = read_json(checkpoint / MANIFEST)["files"]
    for name in (*_NEEDED, *_random_files(world_of(checkpoint))):
        if name not in listed:
            return f"it has no {name}"
    if not any(name.endswith(".safetensors") for name in listed):
        return "it has no weights"
    try:
        step = read_json(checkpoint / "trainer_state.json")["global_step"]
    except (SftplayError, KeyError, TypeError):
        return "its trainer_state.json can't be read"
    return None if checkpoint.name == f"checkpoint-{step}" else f"it is of step {step}"


def load_weights_into(model: Any, folder: Path) -> None:
    """Put a checkpoint's weights into a model of the same shape, in place, in fp32 where they are
    trained.
    """
    from safetensors.torch import load_file

    if (folder / ADAPTER_WEIGHTS).is_file():
        from peft import set_peft_model_state_dict

        result = set_peft_model_state_dict(model, load_file(str(folder / ADAPTER_WEIGHTS)))
        _refuse(folder, [name for name in result.missing_keys if "lora_" in name])
        _refuse(folder, list(result.unexpected_keys))
        return
    state: dict[str, torch.Tensor] = {}
    for part in sorted(folder.glob("*.safetensors")):
        state.update(load_file(str(part)))
    if not {*state} <= {*model.state_dict()}:
        # saved as the hub has them: experts one by one, for example
        state = type(model).from_pretrained(str(folder), dtype="auto").state_dict()
    missing, unexpected = model.load_state_dict(state, strict=False)
    _refuse(
        folder, [*unexpected, *({*missing} - {*(getattr(model, "_tied_weights_keys", None) or ())})]
    )
    model.tie_weights()


def whole_weights_of(model: Any, folder: Path) -> dict[str, torch.Tensor]:
    """Return a checkpoint's weights by the names that they have in the model."""
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    for part in sorted(folder.glob("*.safetensors")):
        state.update(load_file(str(part)))
    if not (folder / ADAPTER_WEIGHTS).is_file():
        return state
    (name,) = model.active_adapters
    parts = (".lora_A.", ".lora_B.")  # PEFT leaves the adapter's name out of its files
    return {
        re.sub(r"(\.lora_[AB])\.", rf"\1.{name}.", key)
        if any(p in key for p in parts)
        else key: value
        for key, value in state.items()
    }


def _refuse(folder: Path, names: list[str]) -> None:
    """Refuse weights that are not those of the model.

    Raises:
        RefusedError: one of the model's is missing, or one is not the model's (76).
    """
    if names:
        raise RefusedError(
            f"the checkpoint does not fit the model: {len(names)} weights are missing or not the"
            f" model's, the first is {sorted(names)[0]}",
            where=str(folder),
            todo="this model can't be resumed from what transformers saves of it; please report this",
        )


def rehearse_save(model: Any, folder: Path) -> None:
    """Save the weights, read them back, and remove them: what can't be saved, or has no room on the
    disk, is known before the first step.

    Raises:
        RefusedError: transformers or PEFT does not save this model (76). OSError: the disk.
    """
    sweep(folder, "rehearsal")
    with temporary_folder(folder / "rehearsal") as place:
        with disk_errors_as_such(place):
            try:
                save_weights(model, place)
            except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
                said = next(iter(str(error).strip().splitlines()), type(error).__name__)
                console.log(f"saving failed:\n{traceback.format_exc()}")
                raise RefusedError(
                    f"this model can't be saved, so a training would be lost: {said[:300]}",
                    where=str(folder),
                    todo="correct the base's config.json or generation_config.json; or use"
                    " --set train.method=lora, which saves an adapter only",
                ) from error
        load_weights_into(model, place)


def rotate(folder: Path, limit: int, best_step: int | None) -> None:
    """Keep the newest `limit` checkpoints, by step number, and the best one as well."""
    kept = [step for step, _ in checkpoints_in(folder)][-limit:]
    for step, path in checkpoints_in(folder):
        if step not in kept and step != best_step:
            (path / MANIFEST).unlink(
                missing_ok=True
            )  # first: a half-removed checkpoint must not verify
            shutil.rmtree(path, ignore_errors=True)
    sweep(folder)


def publish(
    checkpoint: Path,
    target: Path,
    tokenizer: Any,
    generation: Any,
    card: str,
    facts: Mapping[str, Any],
) -> None:
    """Copy a checkpoint's weights to the run's adapter/ (or model/), as the run's result.

    With them: tokenizer and chat template, generation config, model card.
    """
    with sealed_folder(target, facts) as tmp:
        for path in sorted(checkpoint.iterdir()):
            name = path.name
            if (
                path.is_file()
                and name not in (*_TRAINER_FILES, MANIFEST)
                and not _RANDOM.match(name)
            ):
                shutil.copyfile(path, tmp / path.name)
        save_tokenizer(tokenizer, tmp)
        add_older_keys(tmp)
        if generation is not None:
            generation.save_pretrained(str(tmp))
        write_text(tmp / "README.md", card)
