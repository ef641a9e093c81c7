"""compose.yaml says again what sftplay/host/containers/spec.py says: nothing but this comparison
keeps the two together.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sftplay.call import StageCall
from sftplay.host.containers import folders, image_names
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.spec import ContainerImage, ContainerSpec, stage_spec
from sftplay.host.containers.tensorboard import board_spec
from sftplay.host.images import recipe
from sftplay.host.system.checkout import CHECKOUT
from sftplay.stages import BY_NAME, STAGES

WITH_GPU, WITHOUT = ("compose.yaml",), ("compose.yaml", "compose.cpu.yaml")
WANTED = {"SFTPLAY_UID": "1000", "SFTPLAY_GID": "1001", "SFTPLAY_CACHE": "/home/ada/.cache/sftplay"}
VARIABLES = {**WANTED, "SFTPLAY_MEMORY": str(8 << 30)}
# Said by the launcher alone: facts of one start, of which compose knows nothing.
OF_A_START = {"SFTPLAY_NONCE", "SFTPLAY_IMAGE_DIGEST", "SFTPLAY_LOCK_HASH", "OMP_NUM_THREADS"}


def compose() -> str:
    """Compose's own program: from the developer tools, else among docker's plugins."""
    found = shutil.which(
        "docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if not found and sys.version_info < (3, 11):
        pytest.skip("no docker-compose here, and its PyPI package requires Python 3.11")
    assert found, "docker-compose is among the developer tools: inv install --dev"
    return found


def run(
    *words: str, files: tuple[str, ...], env: dict[str, str] = VARIABLES
) -> subprocess.CompletedProcess[str]:
    chosen = [word for name in files for word in ("-f", name)]
    passed_on = ("SFTPLAY_", "COMPOSE_", "NO_COLOR", "OMP_NUM_THREADS", "CUDA_LAUNCH_BLOCKING")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(passed_on)}
    return subprocess.run(
        [compose(), "--env-file", "/dev/null", *chosen, "--profile", "*", *words],
        cwd=CHECKOUT,
        env={**clean, **env},
        capture_output=True,
        text=True,
        check=False,
    )


SET_UP = 'docker compose -f compose.setup.yaml run --rm --build --user "$(id -u):$(id -g)" setup'


@pytest.fixture(scope="module", params=[WITH_GPU, WITHOUT], ids=["gpu", "cpu"])
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    done = run("config", "--format", "json", files=request.param)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return {name: service for name, service in found.items() if name not in image_names.STACKS}


def spec_of(service: dict[str, Any]) -> ContainerSpec:
    """The container that a task would start for the same stage in the same stack."""
    stage, stack = service["labels"]["sftplay.stage"], service["labels"]["sftplay.stack"]
    caller = HostIdentity(
        str(CHECKOUT),
        VARIABLES["SFTPLAY_CACHE"],
        "1000:1001",
        because="your own",
        cores=4,
        memory=8 << 30,
    )
    image = ContainerImage(stack, image_names.alias(stack), "sha256:1", "sha256:2")
    if stage == "tensorboard":
        return board_spec("outputs", 6006, image, caller, nonce="n")
    device = service["environment"].get("SFTPLAY_DEVICE", "")
    token = "/dev/null" if BY_NAME[stage].network else None
    overrides = tuple(word for word in service["entrypoint"] if word.startswith("backend="))
    options = {"gguf": "newest"} if "--gguf=newest" in service["entrypoint"] else {}
    call = StageCall(BY_NAME[stage], overrides=overrides, options=options)
    return stage_spec(
        call,
        image,
        caller,
        nonce="n",
        device=device,
        token=token,
        terminal=bool(service.get("tty")),
    )


def as_compose_says_it(spec: ContainerSpec) -> dict[str, Any]:
    """A specification in the words of `config --format json`."""
    host = spec.create_arguments("1.41")["host_config"]
    requests = host.get("DeviceRequests") or []
    said = {
        "image": spec.image,
        "user": spec.user,
        "working_dir": spec.working_dir,
        "hostname": spec.hostname,
        "network_mode": spec.network,
        "read_only": spec.read_only,
        "init": spec.init,
        "cap_drop": list(spec.cap_drop),
        "security_opt": list(spec.security_opt),
        "tmpfs": [f"{target}:{options}" for target, options in spec.tmpfs.items()],
        "shm_size": str(spec.shm_size),
        "pids_limit": spec.pids_limit,
        "mem_limit": str(spec.memory),
        "stop_grace_period": f"{spec.stop_timeout // 60}m{spec.stop_timeout % 60}s",
        "ulimits": {u["Name"]: u["Hard"] for u in host["Ulimits"]},
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
        "words": [*(spec.entrypoint or ("python", "-m", "sftplay")), *spec.command],
        "mounts": sorted((m["Source"], m["Target"], bool(m["ReadOnly"])) for m in host["Mounts"]),
        "devices": [{"count": r["Count"], "capabilities": r["Capabilities"][0]} for r in requests],
        "ports": sorted(
            f"127.0.0.1:{outside}:{inside}" for inside, outside in spec.publish.items()
        ),
        "terminal": spec.tty,
        "restart": "no",  # the engine's own default; compose.yaml says it
    }
    return {
        **said,
        "environment": {
            k: v for k, v in spec.environment.items() if k not in {*OF_A_START, "TERM"}
        },
    }


def as_it_is(service: dict[str, Any]) -> dict[str, Any]:
    """A service of compose.yaml, less what only compose has: profiles, pull policy, health check,
    labels, what to type after 79.
    """
    service = copy.deepcopy(service)
    for only in ("profiles", "pull_policy", "healthcheck", "labels", "stdin_open"):
        service.pop(only, None)
    ports = [f"{p['host_ip']}:{p['published']}:{p['target']}" for p in service.pop("ports", [])]
    service["environment"].pop("SFTPLAY_GOES_ON", None)
    binds = service.pop("volumes")
    assert all(
        bind["type"] == "bind" and bind["bind"] == {"create_host_path": False} for bind in binds
    )
    deploy = service.pop("deploy", {}).get("resources", {}).get("reservations", {})
    limits = service.pop("ulimits")
    return {
        "words": [*service.pop("entrypoint"), *(service.pop("command", None) or [])],
        "mounts": sorted((b["source"], b["target"], b.get("read_only", False)) for b in binds),
        "devices": deploy.get("devices", []),
        "ports": ports,
        "terminal": service.pop("tty", False),
        "ulimits": {
            name: value or 0 for name, value in limits.items()
        },  # a limit of 0 is shown as {}
        # a variable without a value is passed on from the person's own environment, where it has
        # one
        "environment": {
            k: v for k, v in service.pop("environment").items() if v is not None and k != "TERM"
        },
        **service,
    }


def test_every_service_is_the_container_that_a_task_starts(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert as_it_is(service) == as_compose_says_it(spec_of(service)), name


def test_every_stage_is_there_and_nothing_starts_unasked(services: dict[str, Any]) -> None:
    assert {service["labels"]["sftplay.stage"] for service in services.values()} == {
        *(s.name for s in STAGES),
        "tensorboard",
    }
    for name, service in services.items():
        assert service["profiles"] == [name]
        assert service["pull_policy"] == "never"


def test_which_services_ask_for_the_gpu() -> None:
    asking = {}
    for files in (WITH_GPU, WITHOUT):
        found = json.loads(run("config", "--format", "json", files=files).stdout)["services"]
        asking[files] = {
            name: service["image"]
            for name, service in found.items()
            if name not in image_names.STACKS and as_it_is(service)["devices"]
        }
    bnb, unsloth = "sftplay/bnb:current", "sftplay/unsloth:current"
    assert asking[WITH_GPU] == {
        "train-bnb": bnb,
        "eval": bnb,
        "infer": bnb,
        "accept": bnb,
        "serve": bnb,
        "numerics": bnb,
        "train-unsloth": unsloth,
    }
    assert asking[WITHOUT] == {}


def test_no_service_can_reach_the_host(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert "docker.sock" not in json.dumps(service), name
        forbidden = {
            "privileged",
            "cap_add",
            "devices",
            "pid",
            "ipc",
            "userns_mode",
            "volumes_from",
            "security_opts",
        }
        assert not forbidden & set(service), name
        assert service["network_mode"] in ("none", "bridge"), name


@pytest.mark.parametrize("variable", sorted(WANTED))
def test_without_the_set_up_one_message_says_what_to_run(variable: str) -> None:
    done = run(
        "config", "-q", files=WITH_GPU, env={k: v for k, v in VARIABLES.items() if k != variable}
    )
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert variable in line and SET_UP in line


def test_images_are_built_as_inv_builds_them() -> None:
    """The same Dockerfile, and the same arguments but for the base and what a start adds."""
    proxies = dict.fromkeys(recipe.PROXIES, "http://127.0.0.1:9")
    done = run("config", "--format", "json", files=("compose.setup.yaml",), env=proxies)
    services = json.loads(done.stdout)["services"]
    for stack in image_names.STACKS:
        build = services[stack]["build"]
        assert (build["context"], build["dockerfile"]) == (str(CHECKOUT), "images/Dockerfile")
        assert services[stack]["image"] == image_names.alias(stack)
        words = recipe.arguments(image_names.current(stack), recipe.pinned_base(), {})
        given = dict(word.split("=", 1) for word in words if "=" in word)
        assert build["args"] == {**proxies, "STACK": stack, "TORCH": given["TORCH"]}
        assert {key: given[key] for key in build["labels"]} == build["labels"]
    assert services["setup"]["build"] == services["cpu"]["build"]


@pytest.mark.parametrize("files", [WITH_GPU, WITHOUT], ids=["gpu", "cpu"])
def test_images_are_built_by_the_name_of_their_stack(files: tuple[str, ...]) -> None:
    """`docker compose build bnb`: what compose.setup.yaml says, from the same files."""
    done = run("config", "--format", "json", files=files)
    set_up = run("config", "--format", "json", files=("compose.setup.yaml",))
    here, there = (json.loads(each.stdout)["services"] for each in (done, set_up))
    for stack in image_names.STACKS:
        assert here[stack] == there[stack] and here[stack]["profiles"] == [stack]


def test_the_images_can_be_built_before_the_set_up() -> None:
    """compose.setup.yaml asks for no variable."""
    done = run("config", "-q", files=("compose.setup.yaml",), env={})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "typo"), [("cap_drop:", "cap_dorp:"), ("read_only: true", "readonly: true")]
)
def test_a_misspelt_key_is_refused(tmp_path: Path, right: str, typo: str) -> None:
    shutil.copy(CHECKOUT / "compose.setup.yaml", tmp_path)
    text = (CHECKOUT / "compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, typo, 1))
    done = run("config", "-q", files=(str(tmp_path / "compose.yaml"),))
    assert done.returncode != 0
    assert typo.partition(":")[0] in done.stderr


def test_a_plain_up_starts_nothing() -> None:
    words = [compose(), "--env-file", "/dev/null", "-f", "compose.yaml", "config", "--services"]
    done = subprocess.run(
        words,
        cwd=CHECKOUT,
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_setup_dirs_writes_all_that_it_wants() -> None:
    text = (CHECKOUT / "compose.yaml").read_text()
    wanted = {
        part.partition(":?")[0] for part in text.split("${")[1:] if ":?" in part.partition("}")[0]
    }
    assert wanted == set(WANTED)
    assert set(VARIABLES) <= set(folders.compose_variables())
