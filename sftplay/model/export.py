"""Stage `export`: a GGUF file of a run for llama.cpp and Ollama, with a proof that it is the same
model.
"""

from __future__ import annotations

import os

from sftplay import console
from sftplay.errors import UsageError
from sftplay.files import free_space, human_size
from sftplay.locks import hold
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.temporary import sweep


def run(job: Job) -> None:
    """Write outputs/<run>/gguf/.

    Raises:
        UsageError: options that exclude each other (2). NotFoundError: no trained run, or no base
            model (66). MachineError: no converter in this environment (69). StorageError: no room
            (74). RefusedError: the converter does not know the model, or the proof failed (76).
    """
    adapter = bool(job.options.get("adapter"))
    quant = str(job.options.get("quant") or ("f16" if adapter else "q8_0"))
    if adapter and quant != "f16":
        raise UsageError(
            f"an adapter is exported in f16, not in {quant}", todo="leave --quant out, or --adapter"
        )
    target = Run(job.run_name)
    target.require_tuned()  # before anything slow
    os.environ["TQDM_DISABLE"] = "1"  # a bar for each tensor that transformers reads back
    from sftplay.model.gguf.convert import find_converter
    from sftplay.model.runtime.quiet import quiet_libraries

    converter = find_converter()
    quiet_libraries()
    from sftplay.model.exporting.write import export_adapter, export_model

    with hold(target.folder / ".export.lock", who="an export", todo="wait for it to end"):
        sweep(target.folder, target.gguf.name)
        made = export_adapter(job, converter) if adapter else export_model(job, converter, quant)
    target.record_event("exported", file=made.name, **made.facts)
    size = human_size(made.path.stat().st_size)
    console.success(f"{made.path} ({size}; {free_space(made.path)} left on the disk)")
    if advice := made.facts.get("advice"):
        console.warning(str(advice))
    if not adapter:
        console.info(f"it answers: inv infer --run {target.name} --gguf {made.path} --prompt …")
    console.result(str(made.path))
