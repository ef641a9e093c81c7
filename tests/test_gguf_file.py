"""The GGUF file that a person names, written by the gguf library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants

from sftplay.errors import DataError, NotFoundError, RefusedError, SftplayError, StorageError
from sftplay.gguf_file import check_gguf, named_gguf
from sftplay.runs import Run
from sftplay.stages import NEWEST_GGUF


def write(
    path: Path, kind: str = "model", *types: GGMLQuantizationType, alignment: int = 0
) -> None:
    """Write a small file, by the library alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_type(kind)
    writer.add_token_list([f"token {number}" for number in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_uint32("answer", 42)
    for number, form in enumerate(types or (GGMLQuantizationType.F32,)):
        values = np.random.default_rng(number).normal(size=(3, 256)).astype(np.float32)
        writer.add_tensor(f"t{number}", quants.quantize(values, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(name: str) -> SftplayError:
    with pytest.raises(SftplayError) as caught:
        named_gguf(Run("demo"), name)
    return caught.value


_F32, _F16, _Q8 = (GGMLQuantizationType(number) for number in (0, 1, 8))
_BF16, _Q4 = GGMLQuantizationType(30), GGMLQuantizationType(2)


@pytest.mark.parametrize("alignment", [0, 64])
@pytest.mark.parametrize("types", [(_F32,), (_F16, _Q8), (_Q8, _BF16), (_Q4, _F32, _Q4)])
def test_a_file_is_whole_to_the_byte(
    types: tuple[GGMLQuantizationType, ...], alignment: int
) -> None:
    write(Path("a.gguf"), "model", *types, alignment=alignment)
    assert named_gguf(Run("demo"), "a.gguf") == Path("a.gguf")
    content = Path("a.gguf").read_bytes()
    padding = len(content) - len(content.rstrip(b"\0"))
    for missing in (padding + 1, padding + 2, len(content) // 2, len(content) - 30):
        Path("cut.gguf").write_bytes(content[: len(content) - missing])
        problem = refused("cut.gguf")
        assert isinstance(problem, StorageError) and "cut off" in problem.what, missing


@pytest.mark.parametrize(
    ("content", "error", "word"),
    [
        (None, NotFoundError, "no such file"),
        ("folder", NotFoundError, "a folder"),
        (b"", DataError, "empty"),
        (b"hello", DataError, "not a GGUF file"),
        (b"GGUF\x09\0\0\0" + b"\0" * 16, DataError, "version 9"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, StorageError, "cut off"),
        (b"GGUF\x03\0\0\0" + b"\0" * 8 + b"\x01" + b"\0" * 15 + b"\x63" + b"\0" * 9, DataError, "type 99"),
        ("adapter", RefusedError, "on top of its base"),
    ],
)  # fmt: skip
def test_what_is_no_model_says_so_and_names_those_that_are(
    content: bytes | str | None, error: type[SftplayError], word: str
) -> None:
    if content == "folder":
        Path("x.gguf").mkdir()
    elif content == "adapter":
        write(Path("x.gguf"), "adapter")
    elif isinstance(content, bytes):
        Path("x.gguf").write_bytes(content)
    problem = refused("x.gguf")
    assert isinstance(problem, error) and word in problem.what, problem
    assert problem.todo == "make one: inv export --run demo"
    write(Path("outputs/demo/gguf/demo-Q8_0.gguf"))
    write(Path("outputs/demo/gguf/demo-adapter-F16.gguf"), "adapter")
    write(Path("outputs/other/gguf/other-F16.gguf"))
    Path("outputs/other/gguf/torn.gguf").write_bytes(b"GGUF")
    assert refused("x.gguf").todo == (
        "there is outputs/demo/gguf/demo-Q8_0.gguf; or make one: inv export --run demo"
    )


def test_without_a_name_the_run_needs_one() -> None:
    with pytest.raises(NotFoundError, match="no GGUF file"):
        check_gguf(Run("demo"), NEWEST_GGUF)
