"""Answers in chat and batch inference: a loaded model, the run's template, and the sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data.styling.prompt import StylePrompt
from sftplay.errors import DataError
from sftplay.fingerprint import fingerprint
from sftplay.model.answers.generate import Answer, Request, answers
from sftplay.model.answers.prompts import Messages, Prompter, make_prompter, window_of
from sftplay.model.answers.sampling import Sampling
from sftplay.model.answers.stop_strings import StopWatch, before_stop
from sftplay.model.answers.stream import Stream
from sftplay.model.answers.whole import can_decode
from sftplay.model.runtime.quiet import quiet_libraries
from sftplay.model.weights.fuse import fused
from sftplay.model.weights.load import Loaded, load_for_inference
from sftplay.model.weights.same_base import require_same_base
from sftplay.model.weights.trained_run import RunFacts, open_run
from sftplay.places import find_model
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job

_REPORTED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop")


@dataclass(frozen=True)
class Answerer:
    """A model that is ready to talk.

    Attributes:
        model: what computes.
        name: for people: "run demo" or "smollm2-135m-instruct, untuned".
        prompter: messages → tokens.
        sampling: how tokens are chosen.
        stop_ids: tokens that end an answer.
        pad_id: filler.
        own_decoder: our decoder keeps this model's state; else transformers' generate answers.
        system: system prompt, where a conversation brings none of its own.
        identity: everything that the answers depend on, other than the prompts.
        style: the style that the run was trained with: joined to system turns as it was in
            training.
    """

    model: Any
    name: str
    prompter: Prompter
    sampling: Sampling
    stop_ids: Sequence[int]
    pad_id: int
    own_decoder: bool
    system: str | None
    identity: Mapping[str, Any]
    style: StylePrompt | None = None

    def with_system(self, messages: Messages) -> list[dict[str, Any]]:
        """The conversation with the system prompt in front, unless it has one."""
        turns = [dict(message) for message in messages]
        if self.style is not None and turns and turns[0]["role"] == "system":
            return [{**turns[0], "content": self.style.system(turns[0]["content"])}, *turns[1:]]
        if self.system is None or any(turn["role"] == "system" for turn in turns):
            return turns
        return [{"role": "system", "content": self.system}, *turns]

    def prompt_ids(self, messages: Messages) -> list[int]:
        """The prompt's tokens.

        Raises:
            DataError: it leaves no room for an answer, spells a special token, or the template
                refuses it (65).
        """
        ids = self.prompter.ids(self.with_system(messages))
        if self.prompter.room(ids, 1) < 1:
            raise DataError(
                f"the prompt has {len(ids):,} tokens, and the model reads {self.prompter.window:,} at most",
                todo="shorten it",
            )
        return ids

    def watch(self) -> StopWatch:
        """A reader that sees the texts that end an answer."""
        return StopWatch(self.sampling.stop, self.prompter.tokenizer)

    def text(self, ids: Sequence[int]) -> str:
        """An answer's text, up to the first of the texts that end it."""
        return before_stop(self.prompter.text(ids), self.sampling.stop)

    def stream(self) -> Stream:
        """A new conversation."""
        return Stream(self.model, self.stop_ids, self.pad_id, own=self.own_decoder)

    def answers(
        self, requests: Iterable[Request], size: int, advance: Callable[[float], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Answers to many prompts as they are ready, each with its request's key.

        Args:
            size: prompts that are answered together at most.
            advance: told how much was done, a whole answer being 1.
        """
        return answers(
            self.model,
            requests,
            self.sampling,
            self.stop_ids,
            self.pad_id,
            size,
            advance,
            own=self.own_decoder,
            watch=self.watch() if self.sampling.stop else None,
        )

    def say(self, stream: Stream, ids: Sequence[int]) -> Iterator[str]:
        """The answer to a prompt, in pieces of text as they are written; joined they are the
        answer.
        """
        watch, written, said = self.watch(), [], ""
        room = self.prompter.room(ids, self.sampling.max_new_tokens)
        for token in stream.tokens(ids, replace(self.sampling, max_new_tokens=room), watch):
            written.append(token)
            if piece := watch.safe[len(said) :]:
                said += piece
                yield piece
        whole = self.text(written)
        if whole.startswith(said) and len(whole) > len(said):
            yield whole[
                len(said) :
            ]  # half a character, where the answer was cut off in the middle of it


def open_loaded_answerer(job: Job) -> Answerer:
    """Load the model that a job wants to talk to: the tuned one, or with --base the model as it was
    before training.

    The run's frozen template is used for both; before training, the model's own.

    Raises:
        NotFoundError: no trained run (and no --base), or no model (66). RefusedError: the run was
            changed (76).
    """
    quiet_libraries()
    settings, run = job.settings, Run(job.run_name)
    base = bool(job.options.get("base"))
    facts = None if base and run.tuned() is None else open_run(run)
    weights = require_same_base(settings, facts) if facts else find_model(settings)
    loaded = load_for_inference(settings, None if base else facts)
    console.info(f"device {loaded.device}; precision {loaded.precision}")
    model = fused(loaded.model)
    own = can_decode(model, loaded.pad_id).value
    answerer = make_answerer(job, facts, loaded, weights, model, base=base, own_decoder=own)
    report_sampling(answerer.sampling)
    return answerer


def make_answerer(
    job: Job,
    facts: RunFacts | None,
    loaded: Loaded,
    weights: Path,
    model: Any,
    *,
    base: bool,
    own_decoder: bool,
) -> Answerer:
    """Make an answerer of a model that is loaded already.

    Args:
        facts: the run whose template and style are used; None: the model's own template.
        weights: the base's folder.
        model: what computes, of `loaded`.
        base: it answers as it did before training.
        own_decoder: our decoder keeps this model's state (`whole.can_decode`).
    """
    settings = job.settings
    template = facts.template if facts else loaded.template
    folder = weights if base or facts is None else facts.tuned
    prompter = make_prompter(
        folder, template, loaded.tokenizer, settings.data, facts.eot if facts else settings.data.eot
    )
    sampling = sampling_of(settings)
    system, style = system_of(job, facts)
    identity = {
        "model": settings.model.name,
        "base_weights": fingerprint(weights),
        "tuned_weights": None if base or facts is None else fingerprint(facts.tuned),
        "template_hash": template.hash,
        "precision": loaded.precision.value,
        **({"quantized": True} if loaded.quantized else {}),
        "system": system,
        **({"style": style.section} if style else {}),
        "sampling": sampling.identity,
        "data": settings.data.model_dump(include={"special_tokens_in_text", "system_unsupported"}),
    }
    return Answerer(
        model=model,
        name=f"{settings.model.name} (untuned)" if base else f"run {job.run_name}",
        prompter=replace(
            prompter,
            window=window_of(model),
            vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        ),
        sampling=sampling,
        stop_ids=list(dict.fromkeys([prompter.eot_id, *loaded.stop_ids])),
        pad_id=loaded.pad_id,
        own_decoder=own_decoder,
        system=system,
        identity=identity,
        style=style,
    )


def sampling_of(settings: Settings) -> Sampling:
    """The config's sampling."""
    wanted = settings.infer
    return Sampling(
        wanted.max_new_tokens,
        wanted.temperature,
        wanted.top_p,
        wanted.top_k,
        wanted.min_p,
        wanted.repetition_penalty,
        tuple(wanted.stop),
        settings.train.seed,
    )


def report_sampling(sampling: Sampling) -> None:
    """Print the settings that are not the defaults, and those without effect."""
    used = {key: value for key, value in sampling.identity.items() if key in _REPORTED}
    if used:
        console.info("answers: " + ", ".join(f"infer.{key} {value}" for key, value in used.items()))
    if sampling.unused:
        names = ", ".join(f"infer.{name}" for name in sampling.unused)
        console.warning(
            f"without effect: {names}. infer.temperature is 0: the likeliest token is taken every time"
        )


def system_of(job: Job, facts: RunFacts | None) -> tuple[str | None, StylePrompt | None]:
    """The system prompt: the one given, else the style prompt that the run was trained with."""
    given = job.options.get("system") or job.settings.infer.system
    recorded = facts.record.get("style") if facts else None
    if given or not recorded or job.options.get("no_style"):
        return given, None
    style = StylePrompt(recorded["prompt"], recorded["mode"])
    console.info(
        f"system prompt: the style that the run was trained with, {style.prompt!r} (--no-style: without it)"
    )
    return style.system(""), style
