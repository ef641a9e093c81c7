"""Texts at which tokenizers differ."""

from __future__ import annotations

# Texts that tokenizers cut differently: digits, spaces, case, signs, scripts, code, a joined emoji.
TEXTS = (
    "1234567 3.14 0x1F 1,000,000 007",
    "  two spaces\n\n\tand a tab \r\n end ",
    "don't WON'T it's I'LL we've",
    "café naïve Ünïcödé ŒUVRE straße İstanbul",
    "def f(x):\n    return {'a': [x**2 for x in range(10)]}  # !?…",
    "日本語のテキスト 한국어 العربية हिन्दी ไทย",
    "👩\u200d👩\u200d👧 🦊🏽 №1 ™",
)
# Characters at which llama.cpp's own tokenizers differ from those that they imitate: reported.
RARE = ("½ cup, x², 3 ¼", "Ⅷ ٣٤ ৪৫", "e\u0301 a\u030a", "\ufeff\u00a0\u2028\x0b|")
