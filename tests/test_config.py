"""Configs: every problem at once, nearest names, overrides, and a dump that loads again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sftplay.config import dump_config, load_config, walk_settings
from sftplay.errors import ConfigError, UsageError
from sftplay.settings import Settings


def _write(folder: Path, text: str, name: str = "My_Run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_three_mistakes_are_reported_together(tmp_path: Path) -> None:
    path = _write(tmp_path, "train:\n  lerning_rate: 1e-4\n  batch_size: none\nmodle:\n  name: x\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    assert caught.value.code == 78
    assert "3 problems" in text
    assert "line 2: train.lerning_rate: unknown key; did you mean `learning_rate`?" in text
    assert "line 3: train.batch_size" in text
    assert "line 4: modle: unknown key; did you mean `model`?" in text


def test_a_key_in_the_wrong_section_is_pointed_home(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean `train\.epochs`"):
        load_config(_write(tmp_path, "epochs: 3\n"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("train: {bf16: true, fp16: true}", "bf16 and fp16 are both true"),
        ("train: {bf16: true, precision: fp32}", "contradicts"),
        ("train: {early_stopping_patience: 2}", "eval_steps"),
        ("data: {val_share: 0.6, test_share: 0.4}", "nothing is left"),
        ("train: {learning_rate: .inf}", "learning_rate"),
        ("train: {trackers: [trackio, trackio]}", "names trackio more than once"),
        ("train: {trackers: [wandb]}", "'tensorboard' or 'trackio'"),
        ("train: {trackers: trackio}", "train.trackers"),
        ("run: {name: ../x}", "run.name"),
        ("run: {name: /abs}", "run.name"),
        ("run: {name: ''}", "run.name"),
        ("run: {name: '..'}", "run.name"),
        ("run: {name: -rf}", "run.name"),
        ('run: {name: "a\\nb"}', "run.name"),
        ('run: {name: "a\\0b"}', "run.name"),
        ("run: {name: аbc}", "run.name"),
        (f"run: {{name: {'x' * 300}}}", "run.name"),
    ],
)
def test_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, text))
    assert word in str(caught.value)


def test_a_file_whose_name_is_no_name_of_a_run_says_how_to_name_one(tmp_path: Path) -> None:
    path = tmp_path / "Meine Über.yaml"
    path.write_text("train: {max_steps: 3}\n")
    with pytest.raises(ConfigError, match=r"run\.name") as refused:
        load_config(path)
    assert "--run NAME" in refused.value.todo
    assert load_config(path, ["run.name=mine"]).run.name == "mine"


def test_run_name_defaults_to_the_file_stem(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, "backend: bnb")).run.name == "my_run"


def test_overrides_reach_new_and_existing_keys(tmp_path: Path) -> None:
    path = _write(tmp_path, "train:\n  epochs: 1\n")
    settings = load_config(
        path, ["train.epochs=2", "lora.r=8", "style.prompt=Be brief: yes", "data.raw=[a, b]"]
    )
    assert (settings.train.epochs, settings.lora.r, settings.style.prompt, settings.data.raw) == (
        2,
        8,
        "Be brief: yes",
        ["a", "b"],
    )


def test_override_without_value_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_config(_write(tmp_path, ""), ["train.epochs"])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("train.max_step=6", "--set train.max_step: unknown key; did you mean `train.max_steps`?"),
        ("modle.name=x", "--set modle.name: modle is an unknown key; did you mean `model`?"),
        ("train.epochs=-1", "--set train.epochs: requires more than 0 (got -1)"),
        ("run.name=MyRun", "--run MyRun: lower-case letters, digits, . _ -"),
        ("train.device=cdua", "--device cdua: requires 'auto', "),
    ],
)
def test_a_mistake_on_the_command_line_is_not_the_files(
    tmp_path: Path, override: str, text: str
) -> None:
    path = _write(tmp_path, "run: {name: x}\ntrain:\n  epochs: 1\n  device: cpu\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    assert str(caught.value).startswith(text)
    assert "line " not in str(caught.value)
    assert path.name not in str(caught.value)


def test_mistakes_of_file_and_command_line_come_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, "train:\n  epochs: 1\n  seed: x\n"), ["train.epochs=none"])
    text = str(caught.value)
    assert "2 problems in the config" in text
    assert "line 3: train.seed" in text
    assert "  --set train.epochs: " in text


def test_empty_sections_mean_defaults(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, "train:\nlora:\n")).train == Settings().train


def test_the_resolved_config_loads_to_the_same_settings(tmp_path: Path) -> None:
    first = load_config(
        _write(tmp_path, "train: {learning_rate: 2e-4}\nstyle: {prompt: 'a: b\n c'}\n")
    )
    folder = tmp_path / "outputs" / "my_run"
    folder.mkdir(parents=True)
    assert load_config(_write(folder, dump_config(first), "config.yaml")) == first


def test_hugging_faces_precision_keys() -> None:
    assert Settings.model_validate({"train": {"fp16": True}}).train.asked_precision == "fp16"
    assert (
        Settings.model_validate(
            {"train": {"bf16": True, "precision": "bf16"}}
        ).train.asked_precision
        == "bf16"
    )


def test_every_setting_explains_itself() -> None:
    assert not [path for path, _, _, text in walk_settings() if len(text) < 5]


# What YAML 1.1 or 1.2 takes for something else than text, and what breaks lines or escapes.
TRICKY = (
    *("1e5", "1.5", ".5", "5.", "-3", "0o7", "0x1f", "012", "1_000", "1:30", "2024-01-31"),
    *("no", "Yes", "on", "null", "~", "true", ".inf", ".nan", "=", "<<", "auto"),
    *("- a", "a: b", "a #b", "#b", "[a", "{a", "&a", "*a", "!a", "%a", "@a", "`a", "|", ">", "?"),
    *("", " ", " a", "a ", "a\n", "\na", "a\n\nb\n ", "a\tb", "\t", "---", "...", "'", '"', "\\n"),
    *("\x00", "\x07", "\r", "a\r\nb", "\x85", "\u2028", "\ufeff", "\ufffe", "\x7f", "😀", "word " * 60),
)  # fmt: skip
TEXT = st.one_of(st.sampled_from(TRICKY), st.text(st.characters(exclude_categories=["Cs"])))


def values_of(annotation: Any, limits: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Raw values that a key of this type accepts."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [one for part in parts[1:] for one in getattr(part, "metadata", [part])]
        return values_of(parts[0], [*limits, *inner])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, UnionType):
        return st.one_of([values_of(part, limits) for part in parts])
    if origin is list:
        return st.lists(values_of(parts[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(values_of(parts[0]), values_of(parts[1]), max_size=4)
    if annotation in (None, type(None)):
        return st.none()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return sections_of(annotation)
    bounds = {
        name: getattr(one, name)
        for one in limits
        for name in ("ge", "gt", "le", "lt", "min_length", "pattern")
        if getattr(one, name, None) is not None
    }
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(low, high)
    if annotation is float:
        whole = st.integers(int(low or 0) + ("gt" in bounds), int(high) - ("lt" in bounds)) if high else st.integers(1, 10**20)  # fmt: skip
        exact = st.floats(low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds, allow_nan=False, allow_infinity=False)  # fmt: skip
        return st.one_of(whole, exact)
    assert annotation is str, annotation
    if "pattern" in bounds:
        return st.from_regex(bounds["pattern"], fullmatch=True)
    return TEXT.filter(lambda text: len(text) >= bounds.get("min_length", 0))


def sections_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings for a section: any of its keys."""
    keys = {
        name: values_of(field.annotation, field.metadata)
        for name, field in model.model_fields.items()
    }
    return st.fixed_dictionaries({}, optional=keys)


ONE_SECTION = st.one_of(
    [
        st.fixed_dictionaries({name: values_of(field.annotation, field.metadata)})
        for name, field in Settings.model_fields.items()
    ]
)  # of several at a time, most exclude each other


@given(ONE_SECTION)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)  # fmt: skip
def test_settings_written_and_read_are_the_same_to_the_type(
    tmp_path: Path, raw: dict[str, Any]
) -> None:
    try:
        made = Settings.model_validate({**raw, "run": {"name": "x"}})
    except ValidationError:
        assume(False)  # two keys that exclude each other
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(made), encoding="utf-8")
    read = load_config(path)
    assert read == made
    assert repr(read) == repr(made)  # 32 == 32.0, but not in an adapter's bytes
    assert dump_config(read) == dump_config(made)


_HUGE = (
    *(".inf", "-.inf", ".nan", "1e400", "-1e400", "1e308", "-1", "-1e308", "1e31"),
    *("1" + "0" * 400, "-1" + "0" * 400, "1" * 5000, "0x" + "f" * 300, "2147483648", "1e-400"),
)


def _holds_numbers(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _holds_numbers(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(_holds_numbers(one) for one in get_args(annotation))
    return annotation in (int, float)


NUMERIC = [key for key, annotation, *_ in walk_settings() if _holds_numbers(annotation)]


@pytest.mark.parametrize("key", NUMERIC)
def test_numbers_out_of_range_end_at_the_config(tmp_path: Path, key: str) -> None:
    """A number is refused, or it is one that fp32 and every file format can hold."""
    section, name = key.split(".")
    for text in _HUGE:
        for place, overrides in ((f"{section}: {{{name}: {text}}}", []), ("", [f"{key}={text}"])):
            try:
                made = load_config(_write(tmp_path, place), overrides)
            except ConfigError:
                continue
            value = made.model_dump()[section][name]
            assert value is not None
            # too high a learning rate is judged by the training itself: its loss is not finite (80)
            assert abs(value) <= 2**32 or key == "train.learning_rate", (key, text)
            assert float(text) == pytest.approx(value), (key, text)


def test_there_are_numbers_to_try() -> None:
    assert len(NUMERIC) > 25


def test_huge_steps_among_ranks_are_refused_at_once(tmp_path: Path) -> None:
    """Not after counting to a billion for the message."""
    began = time.process_time()
    huge = ["train.batch_size=2147483647", "train.processes=1000"]
    with pytest.raises(ConfigError, match="can't be divided"):
        load_config(_write(tmp_path, ""), huge)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("weight", ["0", "-2", "abc", "", ".inf", ".nan", "true"])
def test_a_wrong_weight_is_named_with_its_source_and_line(tmp_path: Path, weight: str) -> None:
    path = _write(tmp_path, f"data:\n  mix:\n    a/ok.jsonl: 1\n    a/terse.csv: {weight}\n")
    with pytest.raises(ConfigError, match=r"line 4: data\.mix\.a/terse\.csv: a weight is a number"):
        load_config(path)


def test_weights_are_kept_as_they_were_written(tmp_path: Path) -> None:
    mix = "{a.csv: 3, b.csv: 1.0, c.csv: 0.25, d.csv: 1000000}"
    settings = load_config(_write(tmp_path, f"data: {{mix: {mix}}}\n"), [])
    for found in (settings.data.mix, settings.model_dump(mode="json")["data"]["mix"]):
        assert str(found) == "{'a.csv': 3, 'b.csv': 1, 'c.csv': 0.25, 'd.csv': 1000000}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.mix=a.csv", "--set data.mix: requires sources with their weights"),
        ("data.mix={}", "--set data.mix: requires sources with their weights"),
        ("data.mix={a.csv: 0}", "--set data.mix: a.csv: a weight is a number above 0"),
    ],
)
def test_a_wrong_mix_of_the_command_line(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, "data: {mix: {b.jsonl: 1}}\n"), [override])
    assert said in str(caught.value) and "line 1" not in str(caught.value)


MIXED, FILED = "data: {mix: {b.jsonl: 1}}\n", "data: {raw: b.jsonl}\n"


@pytest.mark.parametrize(
    ("text", "overrides", "sources"),
    [
        (MIXED, [], ["b.jsonl"]),
        (MIXED, ["data.raw=data/raw"], ["data/raw"]),
        (MIXED, ["data.raw=[a.csv, b.csv]"], ["a.csv", "b.csv"]),
        (MIXED, ["data.mix=null"], ["data/raw"]),
        (FILED, ["data.mix={a.csv: 2, 'c d.csv': 1}"], ["a.csv", "c d.csv"]),
        (FILED, ["data.mix=null"], ["b.jsonl"]),
        ("", ["data.mix={a.csv: 2}", "data.raw=data/raw"], ["data/raw"]),
        ("", ["data.raw=x.csv", "data.mix={a.csv: 2}"], ["a.csv"]),
    ],
)
def test_files_and_mix_of_the_command_line_replace_each_other(
    tmp_path: Path, text: str, overrides: list[str], sources: list[str]
) -> None:
    assert load_config(_write(tmp_path, text), overrides).data.sources == sources


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.mix={a.csv:2, b.csv:1}", ["--set data.mix", "a.csv:2", "space after the colon"]),
        ("data.mix={a.csv: 2", ["--set data.mix", "a mapping that begins with { has no }"]),
        ("data.mix={a.csv: 2, a.csv: 1}", ["--set data.mix", "`a.csv` stands twice"]),
        ("data.mix={a.csv: 2, b.csv: much}", ["--set data.mix", "b.csv: a weight is a number"]),
        ("run.name=[a", ["--set run.name"]),
    ],
)
def test_mistakes_in_a_mapping_of_the_command_line_name_its_key(
    tmp_path: Path, override: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, ""), [override])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "…" not in str(caught.value) and "value." not in str(caught.value)


def test_a_source_with_a_dot_is_no_key_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(_write(tmp_path, "data: {mix: {a.csv: 1}}\n"), ["data.mix.a.csv=2"])
    assert "{a.csv: 2, b.jsonl: 1}" in caught.value.todo
