"""The model that a GGUF file is compared with: its prompts, tokens and logits."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.model.answers.prompts import Prompter, make_prompter
from sftplay.model.gguf.proof import GgufDifference, compare
from sftplay.model.gguf.runtime import Runtime
from sftplay.model.merging.proof import PROMPTS, logits_of
from sftplay.model.weights.trained_run import RunFacts
from sftplay.settings import Settings

_ASKED = (1.0, 0.75, 0.5)  # of each prompt, llama.cpp is asked for the token behind these shares
_LEAST = -50.0  # llama.cpp writes a huge number where a probability is 0


@dataclass(frozen=True)
class Reference:
    """A model's answers, with which a file has to agree.

    Attributes:
        ids: of each prompt; logits: at each of their positions.
    """

    prompter: Prompter
    ids: list[list[int]]
    logits: list[torch.Tensor]

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens that the model scores."""
        return int(self.logits[0].shape[-1])

    def ask(self, runtime: Runtime) -> GgufDifference:
        """Compare llama.cpp's next tokens with the model's."""
        ours, theirs = [], []
        for ids, logits in zip(self.ids, self.logits, strict=True):
            ends = [max(1, round(share * len(ids))) for share in _ASKED]
            ours.append(torch.stack([logits[end - 1] for end in ends]).log_softmax(-1))
            theirs.append(torch.stack([self._asked(runtime, ids[:end]) for end in ends]))
        return compare(
            [each.clamp(min=_LEAST) for each in ours], [each.clamp(min=_LEAST) for each in theirs]
        )

    def _asked(self, runtime: Runtime, ids: Sequence[int]) -> torch.Tensor:
        found = runtime.next_logprobs(ids, self.vocabulary)
        row = torch.full((self.vocabulary,), float("nan"))
        row[torch.tensor(list(found))] = torch.tensor(list(found.values()))
        return row

    def read_by_transformers(self, file: Path) -> GgufDifference | None:
        """Compare the file as transformers reads it; None where it can't read this architecture."""
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, dtype=torch.float32, local_files_only=True
            ).eval()
        except (ValueError, NotImplementedError, KeyError) as error:
            said = " ".join(str(error).split())[:160]
            if "not supported" not in said:
                raise RefusedError(
                    f"transformers can't load the file: {said}",
                    todo="nothing was written; please report this",
                ) from error
            console.warning(f"proved by llama.cpp alone; transformers: {said}")
            return None
        return compare(self.logits, logits_of(model, self.ids))


def reference_of(facts: RunFacts, settings: Settings, model: Any) -> Reference:
    """Compute a model's logits on the fixed prompts."""
    prompter = make_prompter(facts.tuned, facts.template, facts.tokenizer, settings.data, facts.eot)
    ids = [prompter.ids([{"role": "user", "content": text}]) for text in PROMPTS]
    return Reference(prompter, ids, logits_of(model, ids))


def load_merged(folder: Path) -> Any:
    """Load a merged model in fp32 by plain transformers, whatever it is stored in."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, local_files_only=True
    ).eval()


def release() -> None:
    """Give back the memory of a model that is not used any more."""
    gc.collect()
