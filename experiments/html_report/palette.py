"""The page's colours, for light and for dark, and which of them must be told apart from which.

Data only. Every pair that carries text keeps WCAG 2.2's 4.5 to 1, every curve and border that means something 3 to 1;
a test computes them. Curves also differ by their dashes.
"""

from __future__ import annotations

__all__ = ["CURVES", "DARK", "LIGHT", "MARKS", "TEXTS"]

CURVES = 8

LIGHT = {
    "page": "#ffffff",
    "card": "#f4f6f9",
    "ink": "#16202b",
    "soft": "#4a5765",
    "line": "#d4dae1",
    "edge": "#76828f",
    "link": "#0a53a8",
    "focus": "#0a53a8",
    "good": "#0b6b3a",
    "bad": "#a4161a",
    "alert": "#fdf1e3",
    "alert-ink": "#5c3000",
    "alert-edge": "#b86200",
    "danger": "#fdeaea",
    "danger-ink": "#7a1014",
    "danger-edge": "#c0272d",
    "c0": "#0a5cb0",
    "c1": "#b85c00",
    "c2": "#00755c",
    "c3": "#a33d7f",
    "c4": "#c0272d",
    "c5": "#5f4bb6",
    "c6": "#6b6600",
    "c7": "#3c4650",
}

DARK = {
    "page": "#0f151c",
    "card": "#18212b",
    "ink": "#e8edf2",
    "soft": "#aab6c2",
    "line": "#2f3b48",
    "edge": "#7d8b99",
    "link": "#86bdff",
    "focus": "#ffd166",
    "good": "#62d99a",
    "bad": "#ff8f8f",
    "alert": "#33240f",
    "alert-ink": "#ffdcae",
    "alert-edge": "#d98a2b",
    "danger": "#3a1618",
    "danger-ink": "#ffc9c9",
    "danger-edge": "#f0676b",
    "c0": "#6db3ff",
    "c1": "#ffad5c",
    "c2": "#4fd3a8",
    "c3": "#f29bd0",
    "c4": "#ff8a80",
    "c5": "#b8a9ff",
    "c6": "#e3d655",
    "c7": "#cdd6df",
}

# (foreground, background) of text.
TEXTS = (
    *((ink, ground) for ink in ("ink", "soft", "link", "good", "bad") for ground in ("page", "card")),
    ("alert-ink", "alert"),
    ("danger-ink", "danger"),
)

# (foreground, background) of what is no text and means something.
MARKS = (
    *((f"c{index}", ground) for index in range(CURVES) for ground in ("page", "card")),
    *((mark, ground) for mark in ("edge", "focus") for ground in ("page", "card")),
    ("alert-edge", "page"),
    ("danger-edge", "page"),
)
