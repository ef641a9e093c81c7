"""Answers from a run's GGUF file: the run's own prompts, llama.cpp's arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import NotFoundError, RefusedError
from sftplay.files import hash_file
from sftplay.gguf_file import named_gguf
from sftplay.gguf_owner import require_own_gguf
from sftplay.model.answers.answerer import Answerer, report_sampling, sampling_of, system_of
from sftplay.model.answers.generate import Answer, Request
from sftplay.model.answers.prompts import make_prompter
from sftplay.model.answers.sampling import Sampling
from sftplay.model.answers.stop_strings import AnswerStream, StopWatch
from sftplay.model.gguf.runtime import Runtime, processor_threads
from sftplay.model.gguf.texts import TEXTS
from sftplay.model.runtime.quiet import quiet_libraries
from sftplay.model.weights.generation_config import pad_id
from sftplay.model.weights.trained_run import open_run
from sftplay.runs import Run
from sftplay.stages import NEWEST_GGUF, Job
from sftplay.untrusted import read_json

_ROOM = 4096  # most tokens of prompt and answer, unless the model reads fewer


@dataclass(frozen=True)
class GgufAnswerer(Answerer):
    """A GGUF file that is ready to talk."""

    runtime: Runtime = field(kw_only=True)

    def stream(self) -> GgufStream:  # type: ignore[override]  # the same calls, another source
        """A new conversation."""
        return GgufStream(self.runtime, self.stop_ids)

    def answers(
        self, requests: Iterable[Request], size: int, advance: Callable[[float], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Answers to many prompts, one after the other."""
        for request in requests:
            stream, limit = self.stream(), request.limit or self.sampling.max_new_tokens
            sampling = replace(self.sampling, max_new_tokens=limit)
            ids = list(stream.tokens(request.ids, sampling, self.watch()))
            advance(1.0)
            yield request.key, Answer(ids, stream.ended)


class GgufStream(AnswerStream):
    """One conversation's tokens as llama.cpp writes them; it keeps what two prompts share itself."""

    def __init__(self, runtime: Runtime, stop_ids: Sequence[int]) -> None:
        super().__init__(stop_ids)
        self._runtime = runtime

    def tokens(
        self, ids: Sequence[int], sampling: Sampling, watch: StopWatch | None = None
    ) -> Iterator[int]:
        """Answer one prompt, token by token, without the one that ends it."""
        self.ended = False
        for pieces, ended in self._runtime.answer(ids, _settings(sampling)):
            yield from self._until_end(pieces, watch)
            if self.ended:
                return
            self.ended = ended


def open_gguf_answerer(job: Job) -> GgufAnswerer:
    """Load the GGUF file that a job names, or the run's newest one, in llama.cpp.

    Raises:
        NotFoundError: no trained run, no such file (66). DataError: no GGUF file (65). RefusedError:
            it is an adapter, or of another tokenizer (76). StorageError: damaged (74).
    """
    settings, run = job.settings, Run(job.run_name)
    quiet_libraries()
    facts = open_run(run)
    file = _file(run, str(job.options["gguf"]))
    prompter = make_prompter(facts.tuned, facts.template, facts.tokenizer, settings.data, facts.eot)
    runtime = Runtime(file, context=_ROOM, threads=processor_threads())
    ours = facts.tokenizer(list(TEXTS), add_special_tokens=False)["input_ids"]
    if [runtime.tokenize(text) for text in TEXTS] != ours:
        raise RefusedError(
            f"this file has another tokenizer than run {run.name}",
            where=str(file),
            todo=f"name the run that it was made from: --run NAME; or make one: inv export --run {run.name}",
        )
    console.info(f"{file.name}, by llama.cpp on the CPU")
    system, style = system_of(job, facts)
    sampling = sampling_of(settings)
    report_sampling(sampling)
    return GgufAnswerer(
        model=None,
        name=file.name,
        prompter=replace(prompter, window=runtime.window),
        sampling=sampling,
        stop_ids=list(dict.fromkeys([prompter.eot_id, *facts.eot_ids])),
        pad_id=pad_id(facts.tokenizer),
        own_decoder=False,
        system=system,
        identity=_identity(job, file, facts.template.hash, system, sampling),
        style=style,
        runtime=runtime,
    )


def _file(run: Run, given: str) -> Path:
    """Return the GGUF file that was named, or the run's newest one. A file that no run lists is
    warned of.
    """
    if given != NEWEST_GGUF:
        file = named_gguf(run, given)
        if not require_own_gguf(run, file):
            console.warning(
                f"{file}: no run here lists this file, so whose weights it holds is not known;"
                f" prompts and style are those of run {run.name}"
            )
        return file
    files = read_json(run.require_gguf() / "proof.json", files=dict)["files"]
    models = [run.gguf / name for name, proof in files.items() if proof["kind"] == "model"]
    if not models:
        raise NotFoundError(
            f"the run {run.name} has the GGUF file of an adapter only",
            where=str(run.gguf),
            todo=f"make one of the whole model: inv export --run {run.name}",
        )
    newest: Path = max(models, key=lambda path: path.stat().st_mtime)
    return newest


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Return a sampling in llama.cpp's words. Its own defaults would add more samplers."""
    return {
        "n_predict": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": _ROOM,
        "seed": sampling.seed,
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
    }


def _identity(
    job: Job, file: Path, template_hash: str, system: str | None, sampling: Sampling
) -> dict[str, Any]:
    return {
        "model": job.settings.model.name,
        "gguf": hash_file(file),
        "template_hash": template_hash,
        "system": system,
        "sampling": sampling.identity,
        "data": job.settings.data.model_dump(
            include={"special_tokens_in_text", "system_unsupported"}
        ),
    }
