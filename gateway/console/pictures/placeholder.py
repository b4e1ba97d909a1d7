"""What stands where a picture would: words, drawn."""

from __future__ import annotations

import textwrap
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 320, 320
SIZE = f'width="{WIDTH}" height="{HEIGHT}"'
CHARACTERS, LINES = 34, 6  # in a line, and lines


def placeholder(words: str) -> bytes:
    """An SVG of the size of a thumbnail that says why there is none."""
    lines = textwrap.wrap(words, CHARACTERS)[:LINES]
    first = HEIGHT / 2 - 10 * (len(lines) - 1)
    spans = "".join(
        f'<tspan x="{WIDTH // 2}" y="{first + 22 * number:.0f}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {SIZE}>'
        f'<rect {SIZE} fill="#182028"/>'
        '<path d="M130 70h60v50h-60zM130 120l60-50" fill="none" stroke="#9fb0c0" stroke-width="2"/>'
        f'<text fill="#e6edf3" font-family="sans-serif" font-size="16" text-anchor="middle">{spans}</text>'
        "</svg>"
    ).encode()
