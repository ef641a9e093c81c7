"""`inv push`: its words are checked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sftplay.errors import NotFoundError, SftplayError
from sftplay.host.runs import push


def _refused(names: Sequence[str]) -> SftplayError:
    with pytest.raises(SftplayError) as refused:
        push.run(names, merged=False, gguf=False, private=False, yes=True, runner="local")
    return refused.value


@pytest.mark.parametrize(
    ("names", "said", "todo"),
    [
        (["mine"], "requires a run and a repository", "inv push RUN OWNER/NAME"),
        (["mine", "justname"], "justname is no repository", "inv push mine OWNER/justname"),
        (["o/n", "mine"], "the run comes first", "inv push mine o/n"),
        (["mine", "a/b/c"], "a/b/c is no repository", "inv push mine OWNER/c"),
    ],
)
def test_words_that_name_no_repository(names: list[str], said: str, todo: str) -> None:
    refused = _refused(names)
    assert refused.code == 2 and said in str(refused) and todo in refused.todo
    assert "--to" not in f"{refused} {refused.todo}"  # an option of the stage, not of the task


def test_a_token_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", "/nope/token")
    refused = _refused(["mine", "o/n"])
    assert isinstance(refused, NotFoundError) and refused.where == "/nope/token"
    assert "HF_TOKEN_PATH names a file that is not there" in str(refused)
