"""Stop texts, wherever the pieces are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from sftplay.model.serving.answering import StopTexts

_TEXT = some.text("ab\n", max_size=30)


@given(_TEXT, some.lists(some.text("ab\n", min_size=1, max_size=4), max_size=3), some.data())
def test_the_text_ends_before_the_first_stop(
    text: str, stops: list[str], data: some.DataObject
) -> None:
    cuts = sorted(data.draw(some.lists(some.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    checked, said = StopTexts(stops), ""
    for piece in pieces:
        said += checked.add(piece)
        if checked.found:
            break
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert checked.found == bool(ends)
    if not ends:
        assert said + checked.rest() == text
        return
    heard = next(
        "".join(pieces[: n + 1])
        for n in range(len(pieces))
        if any(s in "".join(pieces[: n + 1]) for s in stops)
    )
    assert said == heard[: min(heard.find(stop) for stop in stops if stop in heard)]
