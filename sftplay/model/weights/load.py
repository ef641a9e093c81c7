"""Loading a model: the base for training, and base plus tuned weights for eval, infer and merge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sftplay import console
from sftplay.base_model import check_base_model
from sftplay.collector import loaded
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.tokenizing.tokenizer import load_tokenizer, read_tokenizer
from sftplay.decision import Decision
from sftplay.model.lean import few_rows, lowrank
from sftplay.model.runtime.device import decide_device
from sftplay.model.runtime.precision import decide_precision, torch_dtype
from sftplay.model.runtime.quiet import quiet_libraries
from sftplay.model.weights.attention_choice import implementation_for
from sftplay.model.weights.causal import require_causal
from sftplay.model.weights.generation_config import end_ids, pad_id, stop_ids
from sftplay.model.weights.load_errors import explain_load
from sftplay.model.weights.loading_report import require_complete
from sftplay.model.weights.trained_run import RunFacts
from sftplay.places import find_model
from sftplay.settings import Settings


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer.

    Attributes:
        model: with the tuned weights active, where there are any.
        plain: the separately loaded base of a `full` run (None: the adapter is switched off
            instead).
        stop_ids: ids that end an answer; pad_id: filler on the left.
        quantized: the base's linear layers are in NF4.
    """

    model: Any
    plain: Any
    tokenizer: PreTrainedTokenizerFast
    template: ChatTemplate
    device: Decision[str]
    precision: Decision[str]
    stop_ids: list[int]
    pad_id: int
    tuned: bool
    quantized: bool = False

    @contextlib.contextmanager
    def base(self) -> Iterator[Any]:
        """The model as it was before training: adapter off, or the base that was loaded next to it."""
        if self.plain is not None:
            yield self.plain
        elif self.tuned:
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.model


def load_for_inference(
    settings: Settings, facts: RunFacts | None, *, need_base: bool = False
) -> Loaded:
    """Base (facts None) or tuned model for eval and infer.

    Args:
        need_base: answers of the base are wanted too; for a `full` run that loads a second model.
    """
    device = decide_device(settings)
    precision = decide_precision(settings, device.value)
    if facts is None:
        folder = find_model(settings)
        template = choose_template(settings.data, read_tokenizer(folder))
        tokenizer = load_tokenizer(folder, template.source)
        model = load_weights(folder, settings, device.value, precision.value)
        _ready(model)
        return Loaded(
            model,
            None,
            tokenizer,
            template,
            device,
            precision,
            end_ids(model, stop_ids(tokenizer, None)),
            pad_id(tokenizer),
            False,
        )
    plain, quantize = None, False
    if facts.method == "full":
        model = load_weights(facts.tuned, settings, device.value, precision.value)
        plain = (
            load_weights(find_model(settings), settings, device.value, precision.value)
            if need_base
            else None
        )
    else:
        quantize = facts.method == "qlora" and device.value == "cuda"
        if facts.method == "qlora" and not quantize:
            console.info(
                f"the base is loaded in {precision.value}, not in 4 bit (NF4) as in training: 4-bit"
                " weights are slow on a CPU; losses differ a little from those of training"
            )
        base = load_weights(
            find_model(settings), settings, device.value, precision.value, quantize=quantize
        )
        model = attach(base, facts.tuned)
        compute_as_trained(model, precision.value)
    _ready(model, plain)
    return Loaded(
        model,
        plain,
        facts.tokenizer,
        facts.template,
        device,
        precision,
        end_ids(model, facts.eot_ids),
        pad_id(facts.tokenizer),
        True,
        quantize,
    )


def compute_as_trained(model: Any, precision: str) -> None:
    """Let adapters add up as in training: in bf16 PEFT's own sum loses much of what a young adapter
    adds, and the evaluation would measure less than was trained.
    """
    if precision == "bf16":
        lowrank.replace(model)


def _ready(*models: Any) -> None:
    """Make models answer faster, and let the collector work as usual; None where there is no second
    one.
    """
    for model in models:
        if model is not None:
            few_rows.replace(model)
    loaded()


def load_weights(
    folder: Path,
    settings: Settings,
    device: str,
    precision: str,
    *,
    quantize: bool = False,
    dtype: str | None = None,
) -> PreTrainedModel:
    """A causal language model from a local folder, offline, safetensors only.

    Args:
        precision: the run's precision; weights are loaded in it unless `dtype` says otherwise.
        quantize: linear layers in NF4 with double quantization (QLoRA, arXiv:2305.14314), computing
            in `precision`.

    Raises:
        NotFoundError: it can't be loaded, or not all of it is there (66). StorageError: damaged
            (74). ConfigError: no causal language model, or quantized already (78).
    """
    quiet_libraries()
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    number = torch_dtype(dtype or precision)
    options: dict[str, Any] = {}
    if quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch_dtype(precision),
        )
    check_base_model(folder, settings.model)
    try:
        # one of the files' shape is refused by `require_complete`, which can name it
        found: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=number,
            device_map={"": 0 if device == "cuda" else "cpu"},
            attn_implementation=implementation_for(settings, device),
            trust_remote_code=settings.model.trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise explain_load(error, folder) from error
    model: PreTrainedModel = found[0]
    require_complete(found[1], type(model).__name__, folder, settings.model)
    if quantize:
        keep_layout(model)
    model.config.use_cache = True
    model.eval()
    require_causal(model, folder)
    return model


def keep_layout(model: Any) -> None:
    """Keep 4-bit weights in the layout that has a derivative.

    On a processor with AVX512-BF16, a `Linear4bit` repacks its weights the first time that it runs
    in evaluation mode without gradients. Every later forward, training included, then goes through
    `gemv_4bit`, which has no derivative: the gradient stops at that layer. (bitsandbytes 0.50,
    `Linear4bit.forward`.) Elsewhere this changes nothing.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def attach(base: PreTrainedModel, adapter: Path) -> Any:
    """Base plus a trained adapter, adapter weights in fp32."""
    from peft import PeftModel

    return PeftModel.from_pretrained(
        base, str(adapter), is_trainable=False, autocast_adapter_dtype=True
    ).eval()
