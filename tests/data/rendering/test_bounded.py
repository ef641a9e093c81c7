"""Templates of strangers: they end soon, and take a bounded amount of memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from sftplay.data.rendering import bounded
from sftplay.data.rendering.bounded import EndlessTemplateError
from sftplay.data.rendering.template import ChatTemplate, checked_template
from sftplay.errors import DataError
from sftplay.untrusted import read_template
from tests.data.models import CHATML

LOOP = "{% for a in range(99999) %}"
END = "{% endfor %}"
ENDLESS = {
    "nested loops": f"{LOOP}{LOOP}{LOOP}x{END}{END}{END}",
    "loops without output": f"{LOOP}{LOOP}{{% set x = a %}}{END}{END}",
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "a block that is shown twice": (
        "{% block a %}{% endblock %}"
        + "".join(
            f"{{% block b{n} %}}{{{{ self.b{n - 1}() }}}}{{{{ self.b{n - 1}() }}}}{{% endblock %}}"
            if n
            else "{% block b0 %}x{% endblock %}"
            for n in range(40)
        )
    ),
    "a recursive loop": (
        "{% for a in [1, 2, 3] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}"
    ),
}
LARGE = {
    "a product": "{{ 'x' * 9999999999 }}",
    "a product of a list": "{{ [1] * 999999999 }}",
    "an integer": "{{ 9 ** (9 ** 9) }}",
    "a text that doubles": (
        "{% set n = namespace(x='x') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    ),
    "a sum that doubles": (
        "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"
    ),
    "a captured text that doubles": (
        "{% set n = namespace(x='x') %}{% for a in range(60) %}"
        "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}"
    ),
    "padding": "{{ 'x'|center(9999999999) }}",
    "padding by a method": "{{ 'x'.rjust(9999999999) }}",
    "a format": "{{ '%9999999999d' % 1 }}",
    "a format by a filter": "{{ '%*d'|format(999999999, 1) }}",
    "a format by a method": "{{ '{:999999999}'.format(1) }}",
    "a format with a given width": "{{ '{:{}}'.format(1, 999999999) }}",
    "an indent": "{{ ('\\n' * 9999)|indent(9999999) }}",
    "a replacement": (
        "{% set n = namespace(x='x' * 999) %}{% for a in range(9) %}"
        "{% set n.x = n.x|replace('x', n.x) %}{% endfor %}"
    ),
    "a replacement by a method": (
        "{% set n = namespace(x='x' * 999) %}{% for a in range(9) %}"
        "{% set n.x = n.x.replace('x', n.x) %}{% endfor %}"
    ),
    "a join": "{{ range(99999)|list|join('x' * 999999) }}",
    "a map": "{{ range(99999)|map('center', 99999)|list }}",
    "a list of large texts": (
        "{% set n = namespace(x=[]) %}{% for a in range(99999) %}"
        "{% set n.x = n.x + ['x' * 9999999] %}{% endfor %}"
    ),
    "slices": (
        "{% set n = namespace(x=[], y='x' * 9999999) %}{% for a in range(99999) %}"
        "{% set n.x = n.x + [n.y[1:]] %}{% endfor %}"
    ),
    "output": f"{LOOP}{{{{ 'x' * 9999999 }}}}{END}",
}


@pytest.mark.parametrize("source", [*ENDLESS.values(), *LARGE.values()], ids=[*ENDLESS, *LARGE])
def test_a_rendering_ends(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 0.2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    with pytest.raises(EndlessTemplateError):
        ChatTemplate(source).render([{"role": "user", "content": "hi"}], True)
    assert time.thread_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (ENDLESS["nested loops"], "seconds"),
        (LARGE["output"], "too much text"),
        ("{{ lipsum(n=100000) }}", ""),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ " + "[" * 5000 + "]" * 5000 + " }}", "nested too deeply"),
        ("{% if 1 %}" * 5000 + "{% endif %}" * 5000, "nested too deeply"),
        ("{% break %}", "not valid Jinja"),
        ("{% continue %}", "not valid Jinja"),
        ("x" * 2_000_000, "characters"),
    ],
)
def test_a_template_is_tried_in_a_process_of_its_own(source: str, said: str) -> None:
    began = time.monotonic()
    if not said:  # it can't be rendered, and that is said for the conversation
        with pytest.raises(DataError, match="undefined"):
            checked_template(source, {}, None, "t").render([{"role": "user", "content": "x"}], True)
        return
    with pytest.raises(DataError, match=said) as caught:
        checked_template(source, {}, None, "here.jinja")
    assert caught.value.where.startswith("here.jinja")
    assert time.monotonic() - began < 60  # under ten seconds on a machine that does nothing else


def test_what_kills_the_process_of_the_trial_kills_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sftplay.data.rendering import trial

    def fill_the_memory() -> None:
        held = []
        while True:
            held.append(bytearray(1 << 26))

    def never_end() -> None:
        while True:
            pass

    monkeypatch.setattr(trial, "_MEMORY", 1 << 28)  # filled long before the seconds are over
    with pytest.raises(DataError, match="memory"):
        trial.try_out("", fill_the_memory, "here")
    monkeypatch.setattr(trial, "_SECONDS", 1)
    with pytest.raises(DataError, match="does not end"):
        trial.try_out("", never_end, "here")
    with pytest.raises(DataError, match="ZeroDivisionError"):
        trial.try_out("", lambda: 1 / 0, "here")  # type: ignore[arg-type]
    trial.try_out("", lambda: None, "here")


def test_a_long_conversation_is_rendered() -> None:
    turns = [{"role": "user", "content": "x" * 10_000}] * 1_000
    assert len(ChatTemplate(CHATML).render(turns, True)) > 10_000_000


def test_a_template_file_is_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_bytes(b"{{ '\xff\xfe' }}")
    with pytest.raises(DataError, match="UTF-8"):
        read_template(path)
    path.write_bytes(b"x" * 1_000_001)
    with pytest.raises(DataError, match="large"):
        read_template(path)
