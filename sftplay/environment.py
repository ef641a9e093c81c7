"""The environment variables of a stage: composed, not inherited.

accelerate, torch, MPI launchers and others read settings of a training from variables:
ACCELERATE_MIXED_PRECISION=bf16 alone turns an fp32 training into a bf16 one. So a stage gets the
variables that are listed here and those that its runner sets, and what was left out and could have
changed it is named.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.ranks import PLAN_VARIABLE

# Never in a stage's environment; sftplay/host/protocol/hub.py says how a token travels.
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")

_PASSED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
        *("LD_LIBRARY_PATH", "RAYON_NUM_THREADS", "MPLCONFIGDIR", "HF_HOME", "HF_HUB_CACHE"),
        *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TRITON_CACHE_DIR"),
    }
)
# OMP_ to MKL_ choose kernels or their threads, not what is computed; `numerics` records them.
_PASSED_FAMILIES = (
    *("LC_", "XDG_", "SFTPLAY_", "CUDA_", "NVIDIA_"),
    *("OMP_", "ATEN_", "DNNL_", "ONEDNN_", "MKL_"),
)
_NETWORK = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})
_NETWORK_FAMILIES = ("HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
# Settings of a training by another way than its config, and launchers of several processes.
_TRAINING_FAMILIES = ("ACCELERATE_", "FSDP_", "DEEPSPEED_", "OMPI_", "PMI_", "PMIX_", "MV2_")
_TRAINING = frozenset(
    {
        *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
        *("MASTER_ADDR", "MASTER_PORT"),
    }
)
# Set by a front's agent for its ranks; whoever starts a stage never passes them on.
_OF_RANKS = frozenset({PLAN_VARIABLE, *_TRAINING})
_NAMED_FAMILIES = (
    *("TORCH", "PYTORCH_", "TRITON_", "BNB_", "CUBLAS_", "NCCL_", "KMP_", "GOMP_", "XLA_"),
    *("HF_", "TRANSFORMERS_", "DATASETS_", "TRL_", "PEFT_", "UNSLOTH_", "PYTHON", "LD_PRELOAD"),
)
_UNIMPORTANT = frozenset(
    {
        *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8"),
        *("HF_TOKEN_PATH", "PYTHONPATH"),
    }
)


def compose(base: Mapping[str, str], *, network: bool) -> dict[str, str]:
    """Return the variables of `base` that a stage may see; tokens are never among them.

    Args:
        network: the stage talks to the hub, and needs to know proxies and certificates.
    """
    return {
        name: value
        for name, value in base.items()
        if _is_passed(name) or (network and _is_for_network(name))
    }


def left_out(base: Mapping[str, str], composed: Mapping[str, str]) -> list[str]:
    """Return the names that were left out and could have changed a stage, in order."""
    return sorted(
        name
        for name in base.keys() - composed.keys() - _UNIMPORTANT
        if _sets_training(name) or (name.startswith(_NAMED_FAMILIES) and not name.endswith("TOKEN"))
    )


def announce(names: list[str]) -> None:
    """Say which variables a stage does not get."""
    if names:
        console.info(f"not passed to stages: {', '.join(names)} (the config decides)")


def drop_training_settings(environ: MutableMapping[str, str]) -> None:
    """Remove, in a stage that was started by hand, what would change a training behind its config.

    A rank keeps the variables of the agent that started it. A number of processes above 1 that
    another launcher set stays as well: it is refused with its own message.
    """
    kept = _TRAINING if environ.get(PLAN_VARIABLE) else frozenset()
    names = sorted(name for name in environ if _sets_training(name) and name not in kept)
    if names and (kept or environ.get("WORLD_SIZE", "1") in ("", "1")):
        for name in names:
            del environ[name]
        console.info(f"not used: {', '.join(names)} (the config decides)")


def _is_passed(name: str) -> bool:
    return (name in _PASSED or name.startswith(_PASSED_FAMILIES)) and name not in _OF_RANKS


def _is_for_network(name: str) -> bool:
    return name in _NETWORK or (
        name.upper().startswith(_NETWORK_FAMILIES) and not name.endswith("TOKEN")
    )


def _sets_training(name: str) -> bool:
    return name in _TRAINING or name.startswith(_TRAINING_FAMILIES)


def token_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file with the hub's token that HF_TOKEN_PATH names; None where it is not set.

    Raises:
        NotFoundError: there is no such file (66).
    """
    given = environ.get("HF_TOKEN_PATH")
    if not given:
        return None
    if not Path(given).is_file():
        raise NotFoundError(
            "HF_TOKEN_PATH names a file that is not there",
            where=given,
            todo="set HF_TOKEN_PATH to the file with your token of the hub, or unset it",
        )
    return Path(given)
