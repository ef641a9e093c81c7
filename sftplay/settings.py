"""The config's schema: one pydantic model per concern. docs/config.md and `inv config.schema` are
made from it.

One module although it is long: a reader of a config wants every key, its default and its help on
one page.

Unknown keys are refused. Every default is what a person with one GPU and a few thousand rows would
want.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

RAW = "data/raw"  # where rows are looked for if nothing says otherwise
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
LARGEST = 2**31 - 1  # of any count: what every library and file format can hold
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, Field(min_length=1)]


def _check_weight(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Refuse what is no weight in words about weights; `true` is none, although it is an int.

    A whole number stays one, so that it is shown as it was written: 3, not 3.0.
    """
    try:
        weight: int | float = check(None if isinstance(value, bool) else value)
    except ValidationError:
        hint = ", with a space after the colon" if value is None else ""
        raise ValueError(f"a weight is a number above 0, at most 1,000,000{hint}") from None
    return int(weight) if float(weight).is_integer() else weight


Weight = Annotated[int | float, Field(gt=0, le=1e6), WrapValidator(_check_weight)]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Tracker = Literal["tensorboard", "trackio"]


class Section(BaseModel):
    """A part of the config: unknown keys refused, immutable, finite numbers only.

    Defaults are validated too: an `alpha: float = 32` would be an int until it was written and
    read again, and an adapter's bytes would tell the two apart.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class RunSettings(Section):
    """Name of the run."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Name of the run's folder in outputs/: lower-case letters, digits, `.`, `_`, `-`. Default: the
    config's file stem."""


class ModelSettings(Section):
    """The base model."""

    name: Annotated[str, Field(min_length=1)] = "smollm2-135m-instruct"
    """`smollm2-135m-instruct` (ships with the cpu environment), a hub id, or a local folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub. The commit that it resolves to is recorded in the stamp."""
    max_length: Annotated[int, Field(ge=8, le=1_048_576)] = 1024
    """Longest row in tokens, prompt and answer together; `data.on_too_long` decides what happens to
    longer ones."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Requested attention kernel. auto: SDPA if the model has it, else its own formula (eager). The
    one that ran is recorded in the stamp."""
    extra_weights: Literal["error", "ignore"] = "error"
    """What happens to tensors in the model's files that its architecture has no place for: refused,
    or left out. They are always listed."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. If false, such a model is refused."""


class FieldMap(Section):
    """Names of the fields in raw rows."""

    system: str | None = None
    """Field that holds the system prompt."""
    user: str | None = None
    """Field that holds the user's text."""
    input: str | None = None
    """Field with extra input, added to the user's text after a blank line (alpaca's `input`)."""
    assistant: str | None = None
    """Field that holds the answer to learn."""
    history: str | None = None
    """Field that holds earlier turns: a list of [question, answer] pairs."""
    reasoning: str | None = None
    """Field that holds the reasoning before the answer."""
    messages: str | None = None
    """Field that holds a list of messages, instead of the ones above."""
    tools: str | None = None
    """Field that holds the tools which the model may call: a list of JSON schemas, or JSON text of
    one."""


class DataSettings(Section):
    """Source of the rows, and the treatment of unusual ones."""

    raw: str | list[str] = RAW
    """A folder, a file, a glob, a hub dataset (`owner/name`, `owner/name@revision`,
    `owner/name:folder`), or a list of these."""
    mix: Annotated[dict[Source, Weight], Field(min_length=1, max_length=1000)] | None = None
    """Sources with their weights, instead of `raw`: `{chat.jsonl: 3, owner/name: 1}` takes three
    rows of the first for one of the second, in every split, until a source has no more
    (`first_exhausted` of datasets' interleave_datasets). The rest is left out and counted."""
    suffix: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Name of a dataset kept next to the default one: data/processed_<suffix>/ and so on."""
    format: Literal[
        "auto",
        "sftplay",
        "alpaca",
        "sharegpt",
        "messages",
        "prompt_completion",
        "question_answer",
        "pairs",
    ] = "auto"
    """Row format. `auto` detects it for each file and records it in report.json."""
    fields: FieldMap | None = None
    """Names of your fields, for files that fit no format."""
    reasoning: Literal["keep", "strip"] = "keep"
    """Reasoning in answers, `<think>…</think>`: kept, or removed by `process`. The report counts
    the rows that contain some."""
    odd_turns: Literal["reject", "fix"] = "reject"
    """What happens to a conversation that starts with the assistant, or that has two turns of one
    speaker in a row. `fix` removes the opening turn and joins the two with a blank line; both are
    counted.
    """
    near_duplicates: Literal["group", "keep", "drop"] = "group"
    """Rows that share at least 80 % of their wording with an earlier one: kept in one split with
    it, left where they are, or removed. They are always counted. `drop` compares every row, the
    others a sample of at most 10,000.
    """
    splits: Literal["keep", "pool"] = "keep"
    """What happens to files, folders or top-level keys named train, validation (valid, val, dev)
    and test (eval): kept as these splits, or put together and split again."""
    val_share: Share = 0.05
    """Share of rows in the val split, decided by a hash of each row's content."""
    test_share: Share = 0.05
    """Share of rows in the test split."""
    max_reject_share: Share = 0.01
    """Largest accepted share of bad rows. With more, `process` fails (65); fewer are set aside in
    rejects.jsonl."""
    turns: Literal["all", "last", "unroll"] = "all"
    """Which answers of a conversation are trained: every one, the last one, or each one in a
    separate row."""
    on_too_long: Literal["error", "drop", "truncate"] = "error"
    """What happens to rows longer than `model.max_length`. They are always counted."""
    eot: str | None = None
    """End-of-turn token, if it cannot be found in the template. If the template writes nothing
    after an answer, the token is added to the last one."""
    chat_template: str | None = None
    """File with a Jinja chat template to use instead of the tokenizer's own, or `trl:NAME` for one
    that the installed TRL ships (`trl:glm4moe_training`)."""
    generation_prompt: Literal["template", "answer"] = "template"
    """What the model is given before it answers: the template's own generation prompt, or what the
    template writes in front of an answer. `answer` is for templates whose prompt opens `<think>`
    although answers without reasoning do not begin so (DeepSeek, Nemotron 3)."""
    system_unsupported: Literal["error", "merge_into_user"] = "error"
    """What happens to a system turn if the template refuses one (Gemma 1)."""
    special_tokens_in_text: Literal["error", "drop", "keep"] = "error"
    """Text in a row that equals a special token (`<|im_end|>`): refused, the row set aside in
    rejects.jsonl, or turned into that token."""
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """Worker processes of the data stages; the output does not depend on their number. Default:
    one; for files over 50 MB one per core, at most 8."""

    @field_validator("odd_turns", mode="before")
    @classmethod
    def _accept_former_value(cls, value: object) -> object:
        """`mend` was the name of `fix`."""
        return "fix" if value == "mend" else value

    @field_validator("mix", mode="before")
    @classmethod
    def _mix_names_sources(cls, value: object) -> object:
        if value is not None and not (isinstance(value, dict) and value and all(value)):
            raise ValueError(
                "requires sources with their weights, such as {chat.jsonl: 3, owner/name: 1}"
            )
        return value

    @property
    def sources(self) -> list[str]:
        """Names of the rows' sources: those of the mix, by name, since a mapping has no order;
        else the entries of `raw`.
        """
        if self.mix:
            return sorted(self.mix)
        return [self.raw] if isinstance(self.raw, str) else self.raw

    @model_validator(mode="after")
    def _sources_are_named_once(self) -> DataSettings:
        if self.mix is not None and self.raw != RAW:
            raise ValueError(
                "raw and mix both name the rows to read: keep one of them (--set data.raw=… or"
                " --set data.mix=… reads what it names, and not the other)"
            )
        return self

    @model_validator(mode="after")
    def _shares_leave_rows_to_train(self) -> DataSettings:
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                "val_share + test_share must be below 1, else nothing is left to train on"
            )
        return self


class StyleSettings(Section):
    """A style prompt for every conversation."""

    prompt: str | None = None
    """Style prompt for every conversation, put into its system turn. Empty: no style."""
    prompts: dict[str, str] = {}
    """Style prompts of named datasets (`data.suffix`), instead of `prompt`: `{dataset1: "Answer in
    rhyme."}`. Empty: no style."""
    mode: Literal["prepend", "append", "replace"] = "prepend"
    """Put the style prompt before the existing system turn, after it, or in its place."""


class LoraSettings(Section):
    """Shape of the adapter (LoRA, arXiv:2106.09685)."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 32
    """Scale: the update is multiplied by alpha / r (alpha / sqrt(r) with rslora)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """Modules that get an adapter; `all-linear` is every linear layer but the output layer."""
    target_parameters: list[str] | None = None
    """Fused parameters that get an adapter too, such as the experts of a mixture:
    `[mlp.experts.gate_up_proj, mlp.experts.down_proj]`."""
    dora: bool = False
    """Weight-decomposed LoRA (arXiv:2402.09353)."""
    rslora: bool = False
    """Rank-stabilized scaling (arXiv:2312.03732)."""

    @property
    def peft_alpha(self) -> float | int:
        """`alpha` as PEFT declares it: an int, unless it has a fraction."""
        return int(self.alpha) if self.alpha.is_integer() else self.alpha


# of a pass for the loss alone: the logits of every trained token are in memory at once
LOSS_ROWS = 8
AUTO_ROWS = 16  # of an optimizer step, where `batch_size: auto` leaves them to sftplay


MOST_RANKS = 4096  # that are proposed; rows of a step may be any number


def fitting_counts(rows: int) -> list[int]:
    """Numbers of ranks among which the rows of a step can be divided."""
    return [count for count in range(1, min(rows, MOST_RANKS) + 1) if rows % count == 0]


class TrainSettings(Section):
    """The optimization."""

    method: Literal["auto", "qlora", "lora", "full"] = "auto"
    """auto: qlora on a GPU, lora on a CPU. qlora: adapter on a 4-bit (NF4) base; lora: adapter on a 16/32-bit base; full: every
    weight."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto: the GPU if there is one, else the CPU. The stage checks that it runs on the requested
    device."""
    precision: Precision = "auto"
    """auto: chosen by what the device supports, inside the stage; the reason is recorded in the
    stamp."""
    bf16: bool | None = None
    """Hugging Face's own key for `precision: bf16`."""
    fp16: bool | None = None
    """Hugging Face's own key for `precision: fp16`."""
    epochs: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Passes over the train split (ignored if max_steps is set)."""
    max_steps: Count | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: Count | Literal["auto"] = 4
    """Rows per forward pass. auto: 16 rows per optimizer step (times gradient_accumulation_steps),
    in passes as large as free memory allows."""
    gradient_accumulation_steps: Count = 1
    """Forward passes per optimizer step. Each trained token of a step has the same weight, however
    the step is split."""
    processes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes (ranks) of one machine that train together, one GPU each. The rows of an optimizer
    step are divided among them, so the loss does not depend on their number. auto: the GPUs, as many
    as divide these rows; 1 on a CPU and in Unsloth."""
    shard: Literal["none", "full"] = "none"
    """none: each rank holds the whole model (DDP). full: weights, gradients and optimizer states are
    divided among the ranks (FSDP2); for lora and full on GPUs."""
    ddp_timeout: Annotated[int, Field(ge=10, le=LARGEST)] = 600
    """Seconds that the ranks wait for one another before the training ends with 69."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Peak learning rate."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1e3)] | None = None
    """LoRA+ (arXiv:2402.12354): the B matrices of an adapter learn at so many times `learning_rate`;
    16 is a usual value. None: at the same rate as A. Refused with `method: full`."""
    loraplus_lr_embedding: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of adapters on embedding layers with LoRA+. None: 1e-6, as in PEFT."""
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """Learning-rate curve after the warm-up."""
    warmup_steps: Annotated[float, Field(ge=0, le=LARGEST)] = 0.03
    """Warm-up: a number of steps; below 1, a share of all steps."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Decoupled weight decay (AdamW)."""
    max_grad_norm: Annotated[float, Field(ge=0, le=1e12)] = 1.0
    """Gradients are clipped to this norm; 0 disables clipping."""
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"] = (
        "adamw_torch_fused"
    )
    """Optimizer, by its Hugging Face name."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed for the adapter's initial weights, the data order and dropout."""
    neftune_noise_alpha: Annotated[float, Field(gt=0, le=1e3)] | None = None
    """NEFTune (arXiv:2310.05914): noise on the embeddings in training passes, never in evaluations;
    5 to 15 are usual values. The logged training loss contains it. None: no noise."""
    packing: bool = False
    """Concatenate the rows of a pass instead of padding them; attention stays within each row.
    Refused for models that would mix them."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Save memory by computing activations twice. auto: on for a GPU, off on the CPU."""
    logging_steps: Count = 5
    """Steps between two logged points in the trackers and train.log; the first and the last step are
    always logged."""
    save_steps: Count = 100
    """Steps between two checkpoints; the last step is always saved."""
    save_total_limit: Count = 2
    """Number of newest checkpoints to keep; the best one is kept in addition."""
    eval_steps: Count | None = None
    """Steps between two evaluations on val; each saves a checkpoint, and the best adapter is kept.
    None: once, after the last step."""
    eval_samples: Count | None = 200
    """Rows of the val split per evaluation. None: all."""
    early_stopping_patience: Count | None = None
    """Stop after this many evaluations in a row without a better val loss (requires eval_steps)."""
    trackers: list[Tracker] = ["tensorboard"]
    """Programs that show the training: `tensorboard` (the training writes its event files, `inv
    tensorboard` shows them) and `trackio` (`inv trackio` reads the run's records). `[]`: neither."""

    @field_validator("trackers")
    @classmethod
    def _trackers_are_named_once(cls, value: list[Tracker]) -> list[Tracker]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} more than once")
        return value

    @model_validator(mode="after")
    def _one_precision(self) -> TrainSettings:
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 are both true: keep one, or write `precision: bf16`")
        flag = "bf16" if self.bf16 else "fp16" if self.fp16 else None
        if flag and self.precision not in ("auto", flag):
            raise ValueError(
                f"`{flag}: true` contradicts `precision: {self.precision}`: keep one of them"
            )
        if self.early_stopping_patience and not self.eval_steps:
            raise ValueError(
                "early_stopping_patience needs eval_steps: how often to look at the val loss"
            )
        return self

    @model_validator(mode="after")
    def _loraplus_is_possible(self) -> TrainSettings:
        if self.loraplus_lr_ratio is not None and self.method == "full":
            raise ValueError(
                "loraplus_lr_ratio is for adapters, and `method: full` trains none: leave it out, or "
                "use lora or qlora"
            )
        if self.loraplus_lr_embedding is not None and self.loraplus_lr_ratio is None:
            raise ValueError(
                "loraplus_lr_embedding has no effect without loraplus_lr_ratio: set both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _ranks_are_possible(self) -> TrainSettings:
        if self.shard == "full" and self.method == "qlora":
            raise ValueError(
                "`shard: full` does not work with `method: qlora`: 4-bit weights stay whole on each "
                "GPU; leave shard out, or use lora"
            )
        if isinstance(self.processes, int) and self.rows_per_step % self.processes:
            fits = ", ".join(map(str, fitting_counts(self.rows_per_step)))
            raise ValueError(
                f"{self.rows_per_step} rows of a step (batch_size × gradient_accumulation_steps) "
                f"can't be divided among {self.processes} processes; processes that would do: {fits}"
            )
        return self

    @property
    def rows_per_step(self) -> int:
        """Effective batch: rows of one optimizer step, however many passes they take."""
        rows = AUTO_ROWS if self.batch_size == "auto" else self.batch_size
        return rows * self.gradient_accumulation_steps

    def ranks_on(self, gpus: int, nodes: int = 1) -> int:
        """Processes of one machine with so many GPUs: as asked for, else the largest number that
        divides the rows of a step.
        """
        if self.processes != "auto":
            return self.processes
        fits = [count * nodes for count in range(1, max(gpus, 1) + 1)]
        return max((one // nodes for one in fits if self.rows_per_step % one == 0), default=1)

    @property
    def guessed_rows(self) -> int:
        """Rows per forward pass, where nobody has measured yet what `auto` will be."""
        return 4 if self.batch_size == "auto" else self.batch_size

    @property
    def asked_precision(self) -> Precision:
        """The precision asked for, Hugging Face's two booleans included."""
        return "bf16" if self.bf16 else "fp16" if self.fp16 else self.precision


class EvalSettings(Section):
    """Evaluation. Answers are greedy, whatever `infer` says: numbers of two runs stay comparable."""

    samples: Count | None = None
    """Number of rows to answer; the loss is computed on the same rows. None: all."""
    max_new_tokens: Count = 256
    """Longest answer in tokens."""
    batch_size: Count = 128
    """Rows answered at once; fewer if they would not fit into memory."""
    show: Annotated[int, Field(ge=0, le=20)] = 0
    """Rows of the val split that are answered at each look at the val loss in training, the same
    ones every time, with at most 128 tokens each: in the log, in the trackers and in the report."""

    @property
    def loss_rows(self) -> int:
        """Rows of a pass that needs only their loss."""
        return min(LOSS_ROWS, self.batch_size)


class InferSettings(Section):
    """Chat and batch inference."""

    system: str | None = None
    """System prompt of a chat. None: the template's default, if it has one."""
    max_new_tokens: Count = 512
    """Longest answer in tokens."""
    temperature: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """0: greedy, the same answer every time; else 1e-6 or more."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling, used if temperature is above 0."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Sample among this many likeliest tokens only, if temperature is above 0. 0: all."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Leave out tokens less likely than this share of the likeliest one (min-p sampling), if
    temperature is above 0. 0: none."""
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Lower the scores of tokens that prompt and answer have already, greedy answers included.
    1: off; 1.1 to 1.3 ends most loops."""
    stop: list[Annotated[str, Field(min_length=1, max_length=1000)]] = []
    """Texts that end an answer, such as `["\\nUser:"]`. The answer ends before the first of them."""
    batch_size: Count = 64
    """Prompts that infer-batch answers at once; fewer if they would not fit into memory."""

    @field_validator("temperature")
    @classmethod
    def _probabilities_stay_finite(cls, value: float) -> float:
        """A logit divided by it has to be a number in fp32."""
        if 0 < value < 1e-6:
            raise ValueError("0 for greedy answers, or at least 1e-6")
        return value


class MergeSettings(Section):
    """The merged model."""

    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Number format of the merged model's weights on disk."""


class FallbackSettings(Section):
    """Reaction if Unsloth cannot run."""

    enabled: bool = True
    """Continue with BitsAndBytes if Unsloth cannot run. False: exit code 79 is final."""
    max_lost_steps: Annotated[int, Field(ge=0, le=LARGEST)] = 50
    """After more steps than this, a failure does not hand over."""


class TensorboardSettings(Section):
    """TensorBoard."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 6006
    """Port on 127.0.0.1."""


class Settings(Section):
    """A whole config file."""

    backend: Literal["bnb", "unsloth"] = "bnb"
    """Training stack: BitsAndBytes with TRL and PEFT, or Unsloth."""
    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    style: StyleSettings = StyleSettings()
    lora: LoraSettings = LoraSettings()
    train: TrainSettings = TrainSettings()
    eval: EvalSettings = EvalSettings()
    infer: InferSettings = InferSettings()
    merge: MergeSettings = MergeSettings()
    backend_fallback: FallbackSettings = FallbackSettings()
    tensorboard: TensorboardSettings = TensorboardSettings()

    @model_validator(mode="after")
    def _unsloth_trains_alone(self) -> Settings:
        if self.backend == "unsloth" and self.train.processes not in ("auto", 1):
            raise ValueError(
                f"train.processes is {self.train.processes}, and Unsloth trains with one process; "
                "set it to 1, or `backend: bnb`"
            )
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _empty_section_is_default(cls, value: object, info: object) -> object:
        """`train:` with nothing under it (YAML null) means the defaults."""
        return {} if value is None else value
