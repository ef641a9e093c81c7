"""The answerer that a job asks for."""

from __future__ import annotations

from sftplay.model.answers.answerer import Answerer, open_loaded_answerer
from sftplay.stages import Job


def open_answerer(job: Job) -> Answerer:
    """Load the model that a job wants to talk to: the run's, its base, or its GGUF file.

    Raises:
        NotFoundError: no trained run (and no --base), no model or no GGUF file (66). RefusedError:
            the run was changed, or the file is of another model (76).
    """
    if not job.options.get("gguf"):
        return open_loaded_answerer(job)
    from sftplay.model.answers.gguf import open_gguf_answerer  # the export stack's libraries

    return open_gguf_answerer(job)
