"""Check that any PEFT can load an adapter: loaded by plain PEFT, it has to give the loss that its
training saw.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from datasets import Dataset

from sftplay import console
from sftplay.errors import DataError, RefusedError
from sftplay.files import write_json
from sftplay.model.forward.collate import Collator
from sftplay.model.forward.loss import mean_target_loss
from sftplay.model.runtime.device import decide_device
from sftplay.model.runtime.precision import autocast
from sftplay.model.training.plan import stamped_versions
from sftplay.model.weights.generation_config import pad_id
from sftplay.model.weights.load import attach, load_weights
from sftplay.model.weights.trained_run import open_run
from sftplay.parity import difference
from sftplay.places import data_folder, find_model
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stamp import surroundings
from sftplay.untrusted import read_json

LIMIT = 0.02  # relative difference of the two losses: other kernels round otherwise
EFFECT = 1e-4  # nats; below it the adapter does nothing


def check(run: Run, settings: Settings) -> dict[str, Any]:
    """Load the run's adapter by plain PEFT and compare its val loss; the result is stamped into
    run.json as `portable`.

    Raises:
        DataError: no val rows, or the training saw no val loss (65).
        RefusedError: the adapter does not fit the base, returns another loss, or does nothing (76).
    """
    facts = open_run(run)
    seen = facts.record.get("val_loss")
    rows = Dataset.from_file(str(data_folder("tokenized", settings) / "val.arrow")).select_columns(
        ["input_ids", "labels"]
    )
    if facts.method == "full" or seen is None or not len(rows):
        raise DataError(
            "nothing to compare: an adapter and a val loss of its training are wanted",
            where=str(run.folder),
        )
    rows = rows.select(range(min(len(rows), settings.train.eval_samples or len(rows))))
    device, precision = decide_device(settings).value, str(facts.stamp["precision"])
    base = load_weights(
        find_model(settings), settings, device, precision, quantize=facts.method == "qlora"
    )
    model = attach(base, facts.tuned)
    _check_weights(model, facts.tuned)
    collator = Collator(pad_id(facts.tokenizer))
    with autocast(device, precision):
        loss, _ = mean_target_loss(model, rows, collator, settings.eval.loss_rows)
        with model.disable_adapter():
            plain, _ = mean_target_loss(model, rows, collator, settings.eval.loss_rows)
    found = {
        "loss_in_training": seen,
        "loss_in_peft": loss,
        "loss_of_base": plain,
        "trained_by": facts.stamp["backend"],
        "versions": stamped_versions(),
        "stack": surroundings()["stack"],
        "checked": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    judge(seen, loss, plain)
    write_json(run.record, {**read_json(run.record), "portable": found})
    console.success(
        f"portable: plain PEFT gives val loss {loss:.4f}, training saw {seen:.4f} (base {plain:.4f})"
    )
    return found


def judge(seen: float, loss: float, plain: float) -> None:
    """Pure: whether an adapter that gave `seen` in training gives the same as `loss`, and something
    else than its base.

    Raises:
        RefusedError: it does not (76).
    """
    todo = (
        "the adapter is no use outside the stack that trained it: please report this with run.json"
    )
    if not difference(seen, loss) <= LIMIT:
        raise RefusedError(
            f"not portable: plain PEFT gives val loss {loss:.4f}, the training saw {seen:.4f} (allowed {LIMIT:.0%} apart)",
            todo=todo,
        )
    if not abs(loss - plain) > EFFECT:
        raise RefusedError(
            f"the adapter has no effect: val loss {loss:.4f} with it and without it", todo=todo
        )


def _check_weights(model: Any, folder: Any) -> None:
    """Every weight of the file is one of the model's, and the other way round: PEFT would pass over
    the rest in silence.
    """
    from peft.utils import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(str(folder / "adapter_model.safetensors"), framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    with_base = any(".base_layer." in name for name in stored)  # older runs: frozen embeddings too
    state = get_peft_model_state_dict(model, save_embedding_layers=with_base)
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if stored != wanted:
        strange = sorted(
            {name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name)}
        )
        raise RefusedError(
            f"the adapter does not fit its base: {len(strange)} weights differ in name or shape ({strange[0]})",
            where=str(folder),
        )
