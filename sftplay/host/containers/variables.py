"""Environment variables of containers: those that every stage is told, and those of the person's
own that reach it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sftplay.host.containers.mounts import CACHE, HOME

_JIT = f"{HOME}/cache"

# Said to every stage. Without a passwd entry HOME is / and getpass raises, which torch's compiler
# calls.
ENVIRONMENT: Mapping[str, str] = {
    "SFTPLAY_RUNNER": "docker",
    "SFTPLAY_CACHE": CACHE,
    "HOME": HOME,
    "USER": "sftplay",
    "LOGNAME": "sftplay",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "XDG_CACHE_HOME": _JIT,
    "HF_HOME": f"{_JIT}/huggingface",
    "MPLCONFIGDIR": f"{_JIT}/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": f"{_JIT}/inductor",
    "TRITON_CACHE_DIR": f"{_JIT}/triton",
    "UNSLOTH_COMPILE_LOCATION": f"{_JIT}/unsloth",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
}

# Of the person's own environment these reach a container, the second list only a stage with
# network.
PASSED_VARIABLES = (
    "NO_COLOR",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "CUDA_LAUNCH_BLOCKING",
)
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
NETWORK_VARIABLES = (
    *(
        "HF_ENDPOINT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ),
    *CA_VARIABLES,
)
