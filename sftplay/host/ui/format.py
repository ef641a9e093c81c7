"""Figures for people."""

from __future__ import annotations


def show_duration(seconds: float) -> str:
    """90 → '2 min', 5000 → '1.4 h': as exact as an estimate can be."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
