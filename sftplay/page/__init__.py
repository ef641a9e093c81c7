"""Pages for people: one self-contained HTML file with tables and pictures.

Standard library only, so every layer may write one.
"""
