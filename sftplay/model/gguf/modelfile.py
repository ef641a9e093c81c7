"""The file from which Ollama makes a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sftplay.model.gguf.go_template import ChatFrame


@dataclass(frozen=True)
class OllamaModel:
    """Facts of a Modelfile.

    Attributes:
        file: name of the GGUF file next to it; adapter: it is an adapter, for the file of `base`.
        base: name of the base's GGUF file.
        frame: the run's chat template; None: Ollama can't be given it.
        system: system prompt; None: the template's own, if any.
        stop: texts that end an answer.
        parameters: Ollama's sampling parameters.
    """

    run: str
    file: str
    frame: ChatFrame | None
    system: str | None
    stop: Sequence[str]
    parameters: Sequence[tuple[str, float]]
    base: str = ""

    @property
    def notes(self) -> list[str]:
        """Return the warnings for a person who relies on it."""
        notes = []
        if self.system and not self._has_system:
            notes.append(
                "the system prompt has quotes that a Modelfile can't hold: no SYSTEM is given"
            )
        if self.frame is None:
            notes.append(
                "the run's chat template does more than Ollama's templates can: no TEMPLATE is given,"
                " and Ollama picks one itself. Compare answers with inv infer, or use llama-server --jinja"
            )
            return notes
        if self.frame.system is None:
            notes.append(
                "the run's chat template takes no system turn: Ollama leaves one out silently"
            )
        if not self.frame.keeps_edges:
            notes.append(
                "the run's chat template strips spaces around messages, Ollama's does not: send none"
            )
        return notes

    @property
    def _has_system(self) -> bool:
        system = self.system or ""
        return bool(system) and '"""' not in system and not system.endswith('"')

    def text(self) -> str:
        """Return the Modelfile."""
        name = self.file.removesuffix(".gguf")
        lines = [f"# ollama create {self.run} -f {name}.Modelfile"]
        lines += [f"# {note}" for note in self.notes]
        if self.base:
            lines += [
                f"# {self.base} is the base model's own GGUF file: put it here, or write its path",
                f"FROM ./{self.base}",
                f"ADAPTER ./{self.file}",
            ]
        else:
            lines.append(f"FROM ./{self.file}")
        if self.frame is not None:
            lines.append(f'TEMPLATE """{self.frame.go()}"""')
        if self._has_system and (self.frame is None or self.frame.system is not None):
            lines.append(f'SYSTEM """{self.system}"""')
        lines += [f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in self.stop]
        lines += [f"PARAMETER {key} {value:g}" for key, value in self.parameters]
        return "\n".join(lines) + "\n"
