"""Models that a server answers for: the base loaded once, the adapter as a second name for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sftplay import console
from sftplay.files import human_size
from sftplay.model.answers.answerer import make_answerer, report_sampling
from sftplay.model.answers.whole import can_decode
from sftplay.model.lean import few_rows
from sftplay.model.runtime.device import decide_device
from sftplay.model.runtime.memory import available
from sftplay.model.runtime.precision import decide_precision
from sftplay.model.runtime.quiet import quiet_libraries
from sftplay.model.serving.engine import Lane
from sftplay.model.weights.fuse import adapted_bytes, fused_beside_base
from sftplay.model.weights.generation_config import end_ids, pad_id
from sftplay.model.weights.load import Loaded, load_for_inference, load_weights
from sftplay.model.weights.same_base import require_same_base
from sftplay.model.weights.trained_run import RunFacts, open_run
from sftplay.places import find_model
from sftplay.runs import Run
from sftplay.stages import Job

BASE = "base"


def open_lanes(job: Job) -> Mapping[str, Lane]:
    """Load what is served, by model name: RUN and `base`; only one of them with --merged, --base,
    or for a run that trained every weight.

    Raises:
        NotFoundError: no trained run, no merged model, no base (66). RefusedError: another base, or
            changed files (76).
    """
    quiet_libraries()
    run, settings = Run(job.run_name), job.settings
    only_base = bool(job.options.get("base"))
    facts = None if only_base and run.tuned() is None else open_run(run)
    weights = require_same_base(settings, facts) if facts else find_model(settings)
    if job.options.get("merged"):
        assert facts is not None
        loaded, weights = _load_merged(job, facts), facts.run.merged
        facts = replace(facts, tuned=facts.run.merged)
    else:
        loaded = load_for_inference(settings, None if only_base else facts)
    console.info(f"device {loaded.device}; precision {loaded.precision}")
    own = can_decode(loaded.model, loaded.pad_id).value

    def lane(model: Any, *, base: bool, use: Any = lambda: None) -> Lane:
        made = make_answerer(job, facts, loaded, weights, model, base=base, own_decoder=own)
        return Lane(made, use)

    if only_base:
        lanes = {BASE: lane(loaded.model, base=True)}
    elif not hasattr(loaded.model, "peft_config"):
        lanes = {run.name: lane(loaded.model, base=False)}
    else:
        lanes = _tuned_and_base(run.name, loaded.model, lane)
    report_sampling(next(iter(lanes.values())).answerer.sampling)
    return lanes


def _tuned_and_base(run: str, model: Any, lane: Callable[..., Lane]) -> dict[str, Lane]:
    """The lanes of a run with an adapter, and of its base."""
    base, size = BASE if run != BASE else f"{BASE}-untuned", adapted_bytes(model)
    if apart := fused_beside_base(model, room=available(model.device) // 2):
        console.info(
            f"{run} and {base} have weights of their own where the adapter is"
            f" ({human_size(size)} more memory): each answers as fast as alone"
        )
        return {run: lane(apart[0], base=False), base: lane(apart[1], base=True)}
    switch = _Switch(model)
    return {
        run: lane(model, base=False, use=switch.on),
        base: lane(model, base=True, use=switch.off),
    }


class _Switch:
    """The adapter of a model, on or off; nothing is done where it is so already."""

    def __init__(self, model: Any) -> None:
        self._tuner, self._is_on = model.base_model, True

    def on(self) -> None:
        """Answer as the tuned model."""
        if not self._is_on:
            self._tuner.enable_adapter_layers()
            self._is_on = True

    def off(self) -> None:
        """Answer as the base."""
        if self._is_on:
            self._tuner.disable_adapter_layers()
            self._is_on = False


def _load_merged(job: Job, facts: RunFacts) -> Loaded:
    folder = facts.run.require_merged()
    device = decide_device(job.settings)
    precision = decide_precision(job.settings, device.value)
    model = load_weights(folder, job.settings, device.value, precision.value)
    few_rows.replace(model)
    ends = end_ids(model, facts.eot_ids)
    filler = pad_id(facts.tokenizer)
    return Loaded(
        model, None, facts.tokenizer, facts.template, device, precision, ends, filler, True
    )
