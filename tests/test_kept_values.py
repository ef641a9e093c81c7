"""Values that an earlier data command was given: kept where today's command does not name them,
and said with what undoes them.
"""

from pathlib import Path

import pytest

from sftplay.cli import make_job
from sftplay.freshness import DataStamp, section_of
from sftplay.kept_values import given_values, kept_values, named_keys, refreshed, relevant

KEYS = ("data.val_share", "data.fields")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data:\n  val_share: 0.2\n")
    return path


def test_only_overrides_of_the_section_are_stamped() -> None:
    given = [
        "data.val_share=0.1",
        "data.fields.user=q",
        "train.epochs=3",
        "run.name='x'",
        "data.val_share_x=1",
    ]
    assert relevant(given, KEYS) == ("data.val_share=0.1", "data.fields.user=q")


def test_the_last_of_several_overrides_of_a_key_is_stamped() -> None:
    assert relevant(["data.val_share=0.1", "data.fields.user=q", "data.val_share=0.2"], KEYS) == (
        "data.fields.user=q",
        "data.val_share=0.2",
    )


def test_an_override_of_today_beats_a_stamped_option_for_the_same_setting(config: Path) -> None:
    stamp = DataStamp("style", "s", {}, (), {"style": "Rhyme.", "mode": "append"})
    job = refreshed(make_job(str(config), None, ["style.prompt='Be brief.'"], {}), "style", stamp)
    assert job.options == {"style": None, "mode": "append"}
    assert job.settings.style.prompt == "Be brief."


def test_what_is_not_named_today_is_kept(config: Path) -> None:
    """The file names data.val_share, and today's command data.test_share: both win."""
    stamp = DataStamp(
        "process",
        "s",
        {},
        ("data.val_share=0.1", "data.test_share=0.3", "data.fields.user=q"),
        {},
    )
    today = make_job(str(config), None, ["data.test_share=0.4"], {"no_auto": True})
    job = refreshed(today, "process", stamp)
    assert section_of(job.settings, "data.val_share", "data.test_share") == {
        "data.val_share": 0.2,
        "data.test_share": 0.4,
    }
    assert job.settings.data.fields is not None and job.settings.data.fields.user == "q"
    assert [str(value) for value in kept_values(today, "process", stamp)] == [
        "--set data.fields.user=q is kept from an earlier `inv process`, since this command and "
        f"its config don't name it; to undo it: inv process --config {config}"
    ]


def test_an_option_is_kept_until_the_config_names_its_setting(config: Path) -> None:
    stamp = DataStamp("style", "s", {}, (), {"style": "Be brief.", "mode": None})
    today = make_job(str(config), None, [], {})
    assert refreshed(today, "style", stamp).options == {"style": "Be brief.", "mode": None}
    (kept,) = kept_values(today, "style", stamp)
    assert kept.given == "--style 'Be brief.'"
    assert kept.undo == f"inv render --no-style --config {config}"
    config.write_text("style: {prompt: Rhyme.}\n")
    named = make_job(str(config), None, [], {})
    assert refreshed(named, "style", stamp).options == {"style": None, "mode": None}
    assert kept_values(named, "style", stamp) == []


def test_what_train_is_given_is_for_one_command(config: Path) -> None:
    """The stages that it runs stamp what their own last command was given."""
    stamp = DataStamp("process", "s", {}, ("data.fields.user=q",), {})
    job = refreshed(make_job(str(config), None, ["data.test_share=0.4"], {}), "process", stamp)
    assert given_values(job, KEYS) == {"overrides": ("data.fields.user=q",), "options": {}}
    first = refreshed(make_job(str(config), None, ["data.fields.user=q"], {}), "process", None)
    assert given_values(first, KEYS) == {"overrides": (), "options": {}}
    typed = make_job(str(config), None, ["data.fields.user=q"], {})
    assert given_values(typed, KEYS)["overrides"] == ("data.fields.user=q",)


@pytest.mark.parametrize(
    ("text", "sets", "named"),
    [
        ("data: {raw: x, fields: {user: q}}\n", (), {"data.raw", "data.fields.user"}),
        ("data: {raw: [a, b]}\nstyle:\n", ("train.epochs=1",), {"train.epochs"}),
        ("data: {fields: null}\nbackend: bnb\n", (), {"data.fields", "backend"}),
        (
            "data: {suffix: d1}\nstyle: {prompts: {d1: Rhyme.}}\n",
            (),
            {"data.suffix", "style.prompts.d1", "style.prompt"},
        ),
    ],
)
def test_the_keys_that_a_command_names(
    config: Path, text: str, sets: tuple[str, ...], named: set[str]
) -> None:
    config.write_text(text)
    found = named_keys(make_job(str(config), None, sets, {}))
    assert named <= found
    assert not found & {"data", "style", "data.val_share"}


def test_an_option_of_today_wins(config: Path) -> None:
    stamp = DataStamp("style", "s", {}, (), {"style": "Rhyme.", "mode": "append"})
    job = refreshed(
        make_job(str(config), None, [], {"style": "Be brief.", "mode": None}), "style", stamp
    )
    assert job.options == {"style": "Be brief.", "mode": "append"}


def test_without_a_stamp_the_job_is_todays(config: Path) -> None:
    job = refreshed(make_job(str(config), None, [], {}), "render", None)
    assert job.options == {"no_style": None}
    assert job.settings.data.val_share == 0.2
