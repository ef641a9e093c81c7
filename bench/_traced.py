"""`python -X importtime -m bench._traced STAGE …`: a stage that says at its end when its model was
loaded and its loop began.

Times are seconds since the process was asked for (SFTPLAY_BENCH_BEGAN, of time.time()).
"""

import json
import os
import sys
import time

from sftplay import cli, runs

moments = {"first line": None, "load": 0.0, "loop": None}
began = float(os.environ["SFTPLAY_BENCH_BEGAN"])
record = runs.Run.record_event


def watch(run, kind, **facts):
    """`started` is written right before the loop."""
    if kind == "started":
        moments["loop"] = time.time() - began
    return record(run, kind, **facts)


def watch_loading(backend):
    """Time what the backend takes to load the base model."""
    plain = backend.load

    def load(*args, **kwargs):
        from transformers import AutoModelForCausalLM  # noqa: F401 - its import is no loading

        start = time.time()
        try:
            return plain(*args, **kwargs)
        finally:
            moments["load"] += time.time() - start

    backend.load = load
    return backend


if __name__ == "__main__":
    runs.Run.record_event = watch
    from sftplay.model.training import trainable_model

    get = trainable_model.load_backend
    trainable_model.load_backend = lambda *names: watch_loading(get(*names))
    code = cli.main(sys.argv[1:])
    print("MOMENTS " + json.dumps(moments), flush=True)
    sys.exit(code)
