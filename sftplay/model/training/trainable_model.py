"""The model that is trained: the base as its backend loads it, and what is trainable in it."""

from __future__ import annotations

from typing import Any

from sftplay import console
from sftplay.decision import Decision
from sftplay.model.backends import load_backend
from sftplay.model.training.plan import Plan
from sftplay.places import find_model


def load_trainable(plan: Plan) -> Any:
    """Load the base, quantized where the method says so, and make trainable what is to be trained."""
    settings = plan.settings
    # before transformers: Unsloth has to be imported first
    backend = load_backend(plan.attempt.backend)

    from sftplay.model.backends.targets import check_quantized, say_adapted
    from sftplay.model.runtime.quiet import quiet_libraries

    quiet_libraries()
    from transformers import set_seed

    from sftplay.model.weights.attention_choice import implementation_of
    from sftplay.model.weights.base_name import name_base
    from sftplay.model.weights.generation_config import make_savable

    console.info(
        f"loading {settings.model.name}{' in 4 bit (NF4)' if settings.train.method == 'qlora' else ''}"
    )
    model = backend.load(settings, find_model(settings), plan.device.value, plan.precision.value)
    if settings.train.method == "qlora":
        check_quantized(model)
    if plan.attempt.backend != "unsloth":  # which has kernels of its own
        console.info(f"attention {implementation_of(model, settings)}")
    make_savable(model)
    set_seed(settings.train.seed)  # the adapter's start depends on it
    model = backend.prepare(model, settings, plan.init_adapter)
    if settings.train.method != "full":
        say_adapted(model)
    name_base(model, settings)
    return model


def slim_model(plan: Plan, model: Any) -> Decision[list[str]]:
    """Let parts of the model compute in fewer passes, and say which."""
    if plan.attempt.backend == "unsloth":
        return Decision([], "Unsloth has kernels of its own")
    from sftplay.model.lean import slim

    done = slim(model, plan.precision.value)
    if done.value:
        console.info(f"in fewer passes: {', '.join(done.value)} ({done.reason})")
    return done
