"""The folder that sftplay runs from, and its environment.

Standard library only: an old Python reads it too.
"""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
VENV = CHECKOUT / ".venv"
