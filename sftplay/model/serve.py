"""Stage `serve`: an OpenAI-compatible endpoint on this machine, for the tuned model and its base."""

from __future__ import annotations

import json
import os
import time
from socket import socket

from sftplay import console
from sftplay.errors import UsageError
from sftplay.locks import hold
from sftplay.places import OUTPUTS, published_base
from sftplay.runs import Run
from sftplay.stages import SERVE_PORT, Job
from sftplay.untrusted import read_json

_LOOPBACK = "127.0.0.1"


def run(job: Job) -> None:
    """Serve until a signal comes.

    Raises:
        UsageError: options that exclude each other (2). NotFoundError: no trained run, no merged
            model (66). MachineError: the port is taken (69). BusyError: the run is served already
            (75).
    """
    run_, port = Run(job.run_name), int(job.options["port"])
    host, key_file = str(job.options["host"]), job.options.get("key_file")
    _check_usage(job, host)
    if not job.options.get("base"):
        run_.require_tuned()  # before anything slow
    from sftplay.model.serving import server

    key = server.read_key(key_file) if key_file else None
    server.check_host(host, has_key=key is not None)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    folder = run_.folder if run_.folder.is_dir() else OUTPUTS / ".base"
    # a container's port is published on 127.0.0.1 by whoever starts it
    place = ("0.0.0.0", SERVE_PORT) if _contained() else (host, port)  # noqa: S104
    lock = folder / "serve" / ".lock"
    with (
        hold(lock, who=f"serving on {address}", todo="stop it: inv stop-serve"),
        server.listen(*place) as taken,
    ):
        _serve(job, taken, key, address)
    console.success("the server has ended")


def _serve(job: Job, taken: socket, key: str | None, address: str) -> None:
    """Load the models and answer requests.

    Raises:
        Exception: what the model failed with while it answered.
    """
    from sftplay.model.serving import app, server
    from sftplay.model.serving.engine import AnswerEngine
    from sftplay.model.serving.models import open_lanes

    began = time.monotonic()
    lanes = open_lanes(job)
    servers: list[server.SignalServer] = []

    def failed(error: Exception) -> None:
        for one in servers:
            one.should_exit = True

    engine = AnswerEngine(lanes, job.settings.infer.batch_size, failed)
    answerers = {name: lane.answerer for name, lane in lanes.items()}
    hosts = ["*"] if key else [*app.HOSTS]  # the key is what keeps web pages out
    made = app.build_app(engine, answerers, key=key, hosts=hosts)

    def ready(one: server.SignalServer) -> None:
        servers.append(one)
        _announce(job, list(lanes), address, time.monotonic() - began, has_key=key is not None)

    engine.start()
    try:
        server.serve(made, taken, ready=ready)
    finally:
        engine.close()
    if engine.failure is not None:
        raise engine.failure


def _announce(job: Job, names: list[str], address: str, seconds: float, *, has_key: bool) -> None:
    """Say where it answers, and what to start where speed counts."""
    console.success(
        f"http://{address}/v1 answers for the model{'s' if len(names) > 1 else ''} {', '.join(names)}"
        f" (after {seconds:.0f} s; stop it: Ctrl-C, or inv stop-serve)"
    )
    secret = " -H 'Authorization: Bearer KEY'" if has_key else ""
    body = json.dumps({"model": names[0], "messages": [{"role": "user", "content": "Hello"}]})
    console.info(
        f"try it: curl http://{address}/v1/chat/completions{secret} -H 'Content-Type: application/json' -d '{body}'"
    )
    run_ = Run(job.run_name)
    if job.options.get("base") or run_.tuned() is None:
        return
    from sftplay.model.weights.vllm import vllm_line

    adapter = run_.tuned() == run_.adapter and not job.options.get("merged")
    folder = run_.merged if job.options.get("merged") else run_.tuned()
    base, stamp = published_base(job.settings), read_json(run_.stamp)
    line = vllm_line(run_.name, stamp, base, adapter=adapter, folder=str(folder))
    whole = f"inv merge --run {run_.name}, then " if adapter else ""
    plain = run_.merged if adapter else folder
    console.info(f"faster on a GPU, with vLLM: {line or f'{whole}vllm serve {plain}'}")
    console.info(
        f"faster on a CPU, with llama.cpp: inv export --run {run_.name}, then llama-server -m"
        f" {run_.gguf / run_.name}-Q8_0.gguf --jinja"
    )


def _check_usage(job: Job, host: str) -> None:
    if job.options.get("base") and job.options.get("merged"):
        raise UsageError("--base and --merged exclude each other", todo="keep one of them")
    if _contained() and host != _LOOPBACK:
        raise UsageError(
            "a container's port is published on 127.0.0.1 only", todo="use --runner local"
        )


def _contained() -> bool:
    return os.environ.get("SFTPLAY_RUNNER") == "docker"
