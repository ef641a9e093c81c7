"""Rich's console, on which text from data or file names gives the terminal no orders."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from sftplay.terminal_text import harmless


class HarmlessConsole(Console):
    """Filters the text of everything that is rendered; rich adds colors after it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Return rich's segments, with control characters as escapes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
