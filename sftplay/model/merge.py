"""Stage `merge`: base and adapter in one model folder that plain transformers loads, with a proof
that they agree.

The adapter is merged onto the full-precision base in fp32, never onto the 4-bit one it may have
been trained on, and then rounded once. One copy of the weights is in memory at a time.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.files import free_space, human_size, write_json, write_text
from sftplay.locks import hold
from sftplay.manifest import sealed_folder
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.temporary import sweep

_SHARD = "5GB"


def run(job: Job) -> None:
    """Write outputs/<run>/merged/.

    Raises:
        NotFoundError: no trained run, or no base model (66).
        RefusedError: the base is not the one of the training, or the proof failed (76).
    """
    console.result(str(merge(job)))


def merge(job: Job) -> Path:
    """Make outputs/<run>/merged/ and return it. Raises as `run`."""
    target = Run(job.run_name)
    target.require_tuned()  # before anything slow
    dtype = str(job.options.get("dtype") or job.settings.merge.dtype)
    console.info(f"merging run {target.name} with {job.settings.model.name}, in {dtype}")
    from sftplay.model.runtime.quiet import quiet_libraries
    from sftplay.model.weights.same_base import require_same_base
    from sftplay.model.weights.trained_run import open_run

    quiet_libraries()
    facts = open_run(target)
    base = require_same_base(job.settings, facts)
    with hold(target.folder / ".merge.lock", who="a merge", todo="wait for it to end"):
        sweep(target.folder, target.merged.name)
        with sealed_folder(target.merged, {"run": target.name, "dtype": dtype}) as folder:
            proof = _merge(job, facts, base, folder, dtype)
    target.record_event(
        "merged", dtype=dtype, **{key: proof[key] for key in ("arithmetic", "effect", "rounding")}
    )
    size = human_size(sum(path.stat().st_size for path in target.merged.iterdir()))
    console.success(
        f"{target.merged} ({size}, {dtype}; {free_space(target.merged)} left on the disk)"
    )
    return target.merged


def _merge(job: Job, facts: Any, base: Path, folder: Path, dtype: str) -> dict[str, Any]:
    """Fill `folder` with the merged model, tokenizer, proof and card; return the proof."""
    from sftplay.fingerprint import fingerprint
    from sftplay.model.answers.prompts import make_prompter
    from sftplay.model.merging.card import merged_card
    from sftplay.model.merging.proof import PROMPTS, differ, digests, logits_of, require_same
    from sftplay.model.weights.card import evaluations_of
    from sftplay.model.weights.generation_config import end_ids, make_savable, pad_id
    from sftplay.model.weights.hub_files import add_older_keys, save_tokenizer

    tokenizer = facts.tokenizer
    prompter = make_prompter(facts.tuned, facts.template, tokenizer, job.settings.data, facts.eot)
    prompts = [prompter.ids([{"role": "user", "content": text}]) for text in PROMPTS]
    model, merged_logits, arithmetic, effect = _merged(job, facts, base, prompts)
    make_savable(model)
    generation = model.generation_config
    ends = end_ids(model, facts.eot_ids)
    generation.eos_token_id, generation.pad_token_id = ends, pad_id(tokenizer)
    _save(model, folder, dtype)
    written = digests(model)
    save_tokenizer(tokenizer, folder)
    add_older_keys(folder)
    del model
    gc.collect()
    console.info(f"written in {dtype}; loading it as anybody would, to see what the rounding did")
    saved = _load_plainly(folder, trust_remote_code=job.settings.model.trust_remote_code)
    require_same(written, digests(saved))
    rounding = differ(merged_logits, logits_of(saved, prompts))
    weights = fingerprint(facts.tuned)
    proof = {
        "schema": 1,
        "prompts": list(PROMPTS),
        "arithmetic": arithmetic and arithmetic.as_json(),
        "effect": effect.as_json(),
        "rounding": rounding.as_json(),
        "dtype": dtype,
        "method": facts.method,
        "merged_onto": "the full-precision base, in fp32",
        "base_weights": facts.stamp["weights_hash"],
        "tuned_weights": weights,
    }
    write_json(folder / "proof.json", proof)
    evaluations = evaluations_of(facts.run.folder / "eval", weights)
    write_text(folder / "README.md", merged_card(facts, job.settings, proof, evaluations))
    return proof


def _merged(
    job: Job, facts: Any, base: Path, prompts: list[list[int]]
) -> tuple[Any, Any, Any, Any]:
    """The merged model in fp32, its logits, and the two differences that were judged: against base
    + adapter, and base.

    Raises:
        RefusedError: the proof failed (76).
    """
    from sftplay.model.merging.proof import differ, judge, logits_of
    from sftplay.model.weights import fuse
    from sftplay.model.weights.load import attach, load_weights

    settings = job.settings
    console.info(f"loading {settings.model.name} in fp32")
    model: Any = load_weights(base, settings, "cpu", "fp32")
    plain = logits_of(model, prompts)
    arithmetic = None
    if facts.method == "full":
        del model
        gc.collect()
        model = load_weights(facts.tuned, settings, "cpu", "fp32")
    else:
        model = attach(model, facts.tuned)
        beside = logits_of(model, prompts)
        model = fuse.merged(model)
    merged = logits_of(model, prompts)
    if facts.method != "full":
        arithmetic = differ(beside, merged)
    effect = differ(plain, merged)
    judge(arithmetic, effect)
    drift = (
        f"; merging moved a logit by {arithmetic.max_logit_difference:.1e} at most"
        if arithmetic
        else ""
    )
    console.info(
        f"proved on {effect.positions} positions in fp32: training moved a logit by up to {effect.max_logit_difference:.3g}{drift}"
    )
    return model, merged, arithmetic, effect


def _save(model: Any, folder: Path, dtype: str) -> None:
    """Weights in `dtype`, config, generation config.

    Raises:
        RefusedError: a weight does not fit into the number format (76).
    """
    import torch

    from sftplay.model.runtime.precision import torch_dtype

    number = torch_dtype(dtype)
    limit = torch.finfo(number).max
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()) or float(parameter.abs().max()) > limit:
            raise RefusedError(
                f"{name} holds a number that {dtype} can't hold",
                todo="use another one: --dtype bf16",
            )
    model.to(number)  # parameter by parameter: the fp32 ones go as the new ones come
    model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=_SHARD)


def _load_plainly(folder: Path, *, trust_remote_code: bool) -> Any:
    """The saved model, by nothing but transformers."""
    from transformers import AutoModelForCausalLM

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config, "a merged model is never quantized"
    return AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", local_files_only=True, trust_remote_code=trust_remote_code
    ).eval()
