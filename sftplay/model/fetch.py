"""Stage `fetch`: bring the model into the cache. The only stage with network; everything else runs offline."""

from __future__ import annotations

import os
from pathlib import Path

from sftplay import console
from sftplay.errors import MachineError, NotFoundError, PermissionDeniedError
from sftplay.files import human_size, write_json
from sftplay.model import smollm2
from sftplay.places import DEFAULT_MODEL, cache_folder, find_model, is_local_model, model_record
from sftplay.stages import Job

# Safetensors, configuration, tokenizer, template: no pickle, no code.
WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt", "LICENSE*"]


def run(job: Job) -> None:
    """Fetch `model.name` where the cache lacks it; writes the record in the cache last."""
    name = job.settings.model.name
    if is_local_model(name):
        console.info(f"{name} is a local folder: nothing to fetch ({find_model(job.settings)})")
        return
    try:
        console.info(f"{name} is in the cache already: {find_model(job.settings)}")
        return
    except NotFoundError:
        pass
    record = model_record(name, job.settings.model.revision)
    if name == DEFAULT_MODEL:
        folder, revision = smollm2.write_safetensors(cache_folder() / "models")
    else:
        folder, revision = _download(name, job.settings.model.revision)
    write_json(record, {"name": name, "revision": revision, "folder": os.path.relpath(folder, cache_folder())})
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    console.success(f"{name} is in the cache ({human_size(size)})")


def _download(name: str, revision: str | None) -> tuple[Path, str]:
    """One snapshot from the hub → (folder, commit)."""
    from huggingface_hub import errors, snapshot_download

    console.info(f"fetching {name} from the Hugging Face hub")
    token = _token()
    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, cache_dir=cache_folder() / "hub", allow_patterns=WANTED, token=token
            )
        )
    except errors.GatedRepoError as error:
        raise PermissionDeniedError(
            f"the model {name} is gated",
            todo=f"accept its terms on its hub page, then put a token into a file and set HF_TOKEN_PATH to it; {_short(error)}",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"the hub has no model {name}" + (f" at revision {revision}" if revision else ""),
            todo="check model.name (private models need a token file: HF_TOKEN_PATH), or name a local folder",
        ) from error
    except errors.HFValidationError as error:
        raise NotFoundError(
            f"{name} is neither a folder here nor a hub id", todo="check model.name in the config"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # disk full and the like own their codes
        raise MachineError(
            f"{name} is not in the cache, and the hub can't be reached",
            todo="connect to the network and run the same command again; or set model.name to a local folder or to "
            f"{DEFAULT_MODEL}, which needs no hub",
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise NotFoundError(
            f"{name} holds no safetensors weights",
            where=str(folder),
            todo="pickle weights are not loaded: choose another",
        )
    return folder, folder.name


def _token() -> str | bool:
    """The token from the file that HF_TOKEN_PATH names; never from an argument, never printed."""
    path = os.environ.get("HF_TOKEN_PATH")
    if path and Path(path).is_file():
        return Path(path).read_text(encoding="utf-8").strip() or False
    return False


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
