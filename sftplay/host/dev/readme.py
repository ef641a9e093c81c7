"""The parts of README.md that are made from the code: `python -m sftplay.host.dev.readme` writes them anew, a test compares.

Each part stands between `<!-- NAME: made by python -m sftplay.host.dev.readme -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sftplay.errors import EXIT_MEANINGS
from sftplay.files import write_text
from sftplay.host.dev.scenarios import as_markdown
from sftplay.host.dev.schema import ConfigKey, every_key
from sftplay.host.system.checkout import CHECKOUT

README = Path("README.md")
_WIDTH = 44  # of the file tree's first column
_FOLDERS = {  # order of the file tree, and a line for each folder of the package
    "": "(the kernel: standard library, PyYAML, pydantic; importable everywhere)",
    "page": "(kernel: pages for people, in HTML and SVG)",
    "host": "(the user's machine: starts stages, never loads a model)",
    "data": "(the data stages, without torch)",
    "model": "(what needs torch: train, evaluate, infer, merge)",
}


def fill(text: str) -> str:
    """README's text with every made part replaced. Raises KeyError where a part's markers are missing."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name}: made by python -m sftplay.host.dev.readme -->\n", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise KeyError(name)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{make()}{end}{rest.partition(end)[2]}"
    return text


def config_reference() -> str:
    """A table for each section of the config."""
    sections: dict[str, list[ConfigKey]] = {}
    for key in every_key():
        sections.setdefault(key.section, []).append(key)
    parts = []
    for section, members in sections.items():
        rows = [
            f"| `{key.path}` | {_default(key)} | {_escape(key.help)} Takes: {_escape(key.takes)}. |" for key in members
        ]
        parts.append(f"**{section or 'top level'}**\n\n" + _table(("key", "default", "what it does"), rows))
    return "\n".join(parts)


def exit_codes() -> str:
    """The table of exit codes."""
    return _table(("code", "meaning"), (f"| {code} | {meaning} |" for code, meaning in EXIT_MEANINGS.items()))


def file_tree() -> str:
    """Every module of the package with the first sentence of its docstring."""
    package = CHECKOUT / "sftplay"
    lines = ["sftplay/"]
    for folder, about in _FOLDERS.items():
        lines.append(f"  {folder + '/' if folder else ''}".ljust(_WIDTH) + about)
        indent = "    " if folder else "  "
        lines += [
            f"{indent}{name}".ljust(_WIDTH) + first for name, first in _modules(package / folder, deep=bool(folder))
        ]
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def task_names(text: str) -> set[str]:
    """The tasks that README's table lists: backticked words in the first cell of each row of the part `tasks`."""
    part = text.partition("<!-- tasks -->")[2].partition("<!-- end of tasks -->")[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("|")]
    return {word.split()[0] for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


PARTS: Mapping[str, Callable[[], str]] = {
    "config": config_reference,
    "codes": exit_codes,
    "tree": file_tree,
    "scenarios": as_markdown,
}


def _modules(folder: Path, *, deep: bool) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py") if deep else folder.glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.name != "__init__.py" or path.parent != folder:
            yield path.relative_to(folder).as_posix().removesuffix("/__init__.py"), _first_sentence(doc)


def _first_sentence(doc: str) -> str:
    line = doc.partition("\n\n")[0].replace("\n", " ")
    return textwrap.shorten(re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0].rstrip(".:"), 110, placeholder=" …")


def _default(key: ConfigKey) -> str:
    return "" if key.default is None else f"`{json.dumps(key.default, ensure_ascii=False)}`"


def _table(head: tuple[str, ...], rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]) + "\n"


def _escape(text: str) -> str:
    """Text for a table's cell. Inside backticks Markdown takes `<` as it is."""
    pieces = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(piece if number % 2 else piece.replace("<", "&lt;") for number, piece in enumerate(pieces))


def main() -> Any:
    """Write the made parts into README.md."""
    write_text(README, fill(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
